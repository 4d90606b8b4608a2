#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int __real_ftruncate(int fd, off_t size);

// is_log reports whether an open file is a log of a database: its name is that of the database and .wal, and perhaps
// another suffix.
static int is_log(const char *link) {
	char path[PATH_MAX];
	ssize_t length = readlink(link, path, sizeof path - 1);
	if (length < 0) {
		return 0;
	}
	path[length] = 0;
	const char *name = strrchr(path, '/');
	return name != NULL && strstr(name, ".wal") != NULL;
}

// The linker replaces ftruncate by this function, see ftruncate_linux.go.
int __wrap_ftruncate(int fd, off_t size) {
	int result = __real_ftruncate(fd, size);
	if (result == 0) {
		return 0;
	}
	int cause = errno;
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (is_log(link)) {
		int reading = open(link, O_RDONLY | O_CLOEXEC);
		if (reading >= 0) {
			result = dup3(reading, fd, O_CLOEXEC) < 0 ? -1 : 0;
			close(reading);
		}
	}
	errno = cause;
	return result;
}
