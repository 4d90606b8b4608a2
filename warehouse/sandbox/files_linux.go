package sandbox

/*
#cgo LDFLAGS: -Wl,-z,relro,-z,now
#cgo LDFLAGS: -Wl,-wrap=open -Wl,-wrap=open64 -Wl,-wrap=access -Wl,-wrap=close
#cgo LDFLAGS: -Wl,-wrap=stat -Wl,-wrap=fstat -Wl,-wrap=__xstat -Wl,-wrap=__fxstat
#cgo LDFLAGS: -Wl,-wrap=read -Wl,-wrap=lseek -Wl,-wrap=lseek64
void emulate_files(const int *descriptors, int count);
*/
import "C"

// emulateFiles lets DuckDB open the descriptors as /dev/fd/N in a process that can make no system call that takes a
// path.
func emulateFiles(descriptors []int) {
	list := make([]C.int, len(descriptors)+1)
	for i, descriptor := range descriptors {
		list[i] = C.int(descriptor)
	}
	C.emulate_files(&list[0], C.int(len(descriptors)))
}
