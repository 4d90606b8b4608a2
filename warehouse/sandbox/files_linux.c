// A confined process can make no system call that takes a path. DuckDB opens files by path all the same, so the linker
// redirects the functions of the C library that it uses for that to those below (see the -wrap options in
// files_linux.go). In a process that is not confined they do nothing else than the originals. In a confined one they
// answer for paths of the form /dev/fd/N, from the descriptor N that is already open, and pass everything else on,
// which the kernel then refuses.
//
// They protect nothing: the seccomp filter does, which code that avoids them meets as well.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile int confined;

// A descriptor that stands for an opened path has a position of its own, while the descriptor it is a duplicate of
// keeps its own. The positions are those plus one; 0: the descriptor is not one of these.
enum { MAX_DESCRIPTORS = 8192 };
static off_t positions[MAX_DESCRIPTORS];

static const char prefix[] = "/dev/fd/";

// The descriptors that may be opened by path.
static char readable[MAX_DESCRIPTORS];

// emulate_files begins to answer for /dev/fd/N, where N is one of the descriptors.
void emulate_files(const int *descriptors, int count) {
	for (int i = 0; i < count; i++) {
		if (descriptors[i] >= 0 && descriptors[i] < MAX_DESCRIPTORS) {
			readable[descriptors[i]] = 1;
		}
	}
	confined = 1;
}

// descriptor_of returns the N of /dev/fd/N if it may be opened, else -1.
static int descriptor_of(const char *path) {
	if (!confined || path == NULL || strncmp(path, prefix, sizeof prefix - 1) != 0) {
		return -1;
	}
	char *end;
	const char *digits = path + sizeof prefix - 1;
	if (*digits < '0' || *digits > '9') {
		return -1;
	}
	unsigned long n = strtoul(digits, &end, 10);
	return *end == 0 && n < MAX_DESCRIPTORS && readable[n] ? (int)n : -1;
}

static int open_descriptor(int n, int flags) {
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0) {
		errno = EACCES;
		return -1;
	}
	int fd = fcntl(n, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && fd < MAX_DESCRIPTORS) {
		off_t now = syscall(SYS_lseek, fd, 0, SEEK_CUR);
		positions[fd] = now >= 0 ? 1 : 0; // pipes have none
	}
	return fd;
}

static int has_position(int fd) { return confined && fd >= 0 && fd < MAX_DESCRIPTORS && positions[fd] != 0; }

// The kernel's struct stat is the C library's on the 64-bit architectures.
static int stat_descriptor(int n, struct stat *into) { return syscall(SYS_fstat, n, into); }

#define WRAP_OPEN(name)                                                   \
	int __real_##name(const char *path, int flags, ...);              \
	int __wrap_##name(const char *path, int flags, ...) {             \
		va_list rest;                                             \
		va_start(rest, flags);                                    \
		int mode = va_arg(rest, int);                             \
		va_end(rest);                                             \
		int n = descriptor_of(path);                              \
		return n < 0 ? __real_##name(path, flags, mode) : open_descriptor(n, flags); \
	}

#define WRAP_STAT(name)                                                   \
	int __real_##name(const char *path, struct stat *into);           \
	int __wrap_##name(const char *path, struct stat *into) {          \
		int n = descriptor_of(path);                              \
		return n < 0 ? __real_##name(path, into) : stat_descriptor(n, into); \
	}

#define WRAP_FSTAT(name)                                                  \
	int __real_##name(int fd, struct stat *into);                     \
	int __wrap_##name(int fd, struct stat *into) {                    \
		return confined ? stat_descriptor(fd, into) : __real_##name(fd, into); \
	}

// Functions with a version are those of C libraries before 2.33, which DuckDB's released library is built with.
#define WRAP_VERSIONED_STAT(name)                                         \
	int __real_##name(int version, const char *path, struct stat *into); \
	int __wrap_##name(int version, const char *path, struct stat *into) { \
		int n = descriptor_of(path);                              \
		return n < 0 ? __real_##name(version, path, into) : stat_descriptor(n, into); \
	}

#define WRAP_VERSIONED_FSTAT(name)                                        \
	int __real_##name(int version, int fd, struct stat *into);        \
	int __wrap_##name(int version, int fd, struct stat *into) {       \
		return confined ? stat_descriptor(fd, into) : __real_##name(version, fd, into); \
	}

#define WRAP_LSEEK(name)                                                  \
	off_t __real_##name(int fd, off_t offset, int whence);            \
	off_t __wrap_##name(int fd, off_t offset, int whence) {           \
		return has_position(fd) ? seek(fd, offset, whence) : __real_##name(fd, offset, whence); \
	}

static off_t seek(int fd, off_t offset, int whence) {
	off_t base = 0;
	struct stat file;
	if (whence == SEEK_CUR) {
		base = positions[fd] - 1;
	} else if (whence == SEEK_END) {
		if (stat_descriptor(fd, &file) != 0) {
			return -1;
		}
		base = file.st_size;
	} else if (whence != SEEK_SET) {
		errno = EINVAL;
		return -1;
	}
	if (base + offset < 0) {
		errno = EINVAL;
		return -1;
	}
	positions[fd] = base + offset + 1;
	return base + offset;
}

ssize_t __real_read(int fd, void *into, size_t size);
ssize_t __wrap_read(int fd, void *into, size_t size) {
	if (!has_position(fd)) {
		return __real_read(fd, into, size);
	}
	ssize_t n = pread(fd, into, size, positions[fd] - 1);
	if (n > 0) {
		positions[fd] += n;
	}
	return n;
}

int __real_close(int fd);
int __wrap_close(int fd) {
	if (has_position(fd)) {
		positions[fd] = 0;
	}
	return __real_close(fd);
}

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode) {
	int n = descriptor_of(path);
	if (n < 0) {
		return __real_access(path, mode);
	}
	if ((mode & ~R_OK) != 0) {
		errno = EACCES;
		return -1;
	}
	return fcntl(n, F_GETFD) < 0 ? -1 : 0;
}

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_STAT(stat)
WRAP_FSTAT(fstat)
WRAP_VERSIONED_STAT(__xstat)
WRAP_VERSIONED_FSTAT(__fxstat)
WRAP_LSEEK(lseek)
WRAP_LSEEK(lseek64)

// close_inherited closes every descriptor from the given one on, before the Go runtime opens descriptors of its own.
// A library of the parent may have opened them without O_CLOEXEC, or the parent may have inherited them.
static void close_inherited(unsigned int from) {
#ifdef SYS_close_range
	if (syscall(SYS_close_range, from, ~0U, 0) == 0) {
		return;
	}
#endif
	for (long fd = sysconf(_SC_OPEN_MAX) - 1; fd >= (long)from; fd--) { // before Linux 5.9
		syscall(SYS_close, fd);
	}
}

// drop_bounding_set removes all capabilities from the bounding set. It runs before there are other threads, which then
// inherit the empty set: a call per capability on every thread of a running program takes long on a busy machine. It has
// no effect in a process without privileges.
static void drop_bounding_set(void) {
	for (long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) {
	}
}

// prepare_child runs in a child process before anything else.
__attribute__((constructor)) static void prepare_child(void) {
	const char *first = getenv("VOICORY_CHILD_DESCRIPTORS");
	if (first == NULL) {
		return;
	}
	close_inherited((unsigned int)strtoul(first, NULL, 10));
	drop_bounding_set();
}
