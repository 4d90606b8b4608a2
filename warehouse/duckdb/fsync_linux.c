#include <errno.h>

int __real_fsync(int fd);

// The linker replaces fsync by this function, see fsync_linux.go.
int __wrap_fsync(int fd) {
	int result = __real_fsync(fd);
	if (result != 0 && errno == EIO) {
		errno = EREMOTEIO;
	}
	return result;
}
