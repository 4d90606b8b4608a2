package sandbox

/*
#define _GNU_SOURCE
#include <link.h>

enum { PIE = 1, RELRO = 2, NOW = 4 };

// program_of looks at the first object that the dynamic linker lists, which is the program.
static int program_of(struct dl_phdr_info *object, size_t size, void *found) {
	int *have = found;
	if (object->dlpi_addr != 0) {
		*have |= PIE;
	}
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		if (segment->p_type == PT_GNU_RELRO) {
			*have |= RELRO;
		}
		if (segment->p_type != PT_DYNAMIC) {
			continue;
		}
		const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(object->dlpi_addr + segment->p_vaddr);
		for (; entry->d_tag != DT_NULL; entry++) {
			if (entry->d_tag == DT_BIND_NOW || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_BIND_NOW) != 0) ||
				(entry->d_tag == DT_FLAGS_1 && (entry->d_un.d_val & DF_1_NOW) != 0)) {
				*have |= NOW;
			}
		}
	}
	return 1;
}

static int linked_with(void) {
	int have = 0;
	dl_iterate_phdr(program_of, &have);
	return have;
}
*/
import "C"

// hardening returns how this program was linked and loaded.
func hardening() Protections {
	have := C.linked_with()
	return Protections{PIE: have&C.PIE != 0, RELRO: have&C.RELRO != 0 && have&C.NOW != 0}
}
