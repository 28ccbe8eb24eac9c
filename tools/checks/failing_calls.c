/* Preloaded (LD_PRELOAD), it fails the k-th call of one function of the C library on one rank:
 *   FAIL_CALL   pwrite write sendfile fsync fdatasync rename mkdir ftruncate fallocate open read pread mmap flock unlink
 *   FAIL_COUNT  k, from 1; calls behind it fail too with FAIL_ALWAYS=1
 *   FAIL_ERRNO  a number (28: ENOSPC, 5: EIO)
 *   FAIL_RANK   of OMPI_COMM_WORLD_RANK (0 without mpirun)
 *   FAIL_UNDER  files below this folder count, no others
 *   FAIL_MARK   a file that is made when the call has failed
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static const char* setting(const char* name) {
    const char* text = getenv(name);
    return text == NULL ? "" : text;
}

static int is_ours(const char* path) {
    const char* under = setting("FAIL_UNDER");
    return path != NULL && *under != '\0' && strncmp(path, under, strlen(under)) == 0;
}

static int is_open_file_ours(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = '\0';
    return is_ours(path);
}

/* Whether this call is the one; sets errno. */
static int fails(const char* call, int ours) {
    const int saved = errno;
    const char* rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!ours || strcmp(call, setting("FAIL_CALL")) != 0 || atol(rank == NULL ? "0" : rank) != atol(setting("FAIL_RANK"))) return 0;
    const long count = atomic_fetch_add(&calls, 1) + 1, wanted = atol(setting("FAIL_COUNT"));
    if (count != wanted && !(count > wanted && atol(setting("FAIL_ALWAYS")) == 1)) return errno = saved, 0;
    int (*const real_open)(const char*, int, ...) = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, "open");
    const int mark = real_open(setting("FAIL_MARK"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (mark >= 0) close(mark);
    errno = atoi(setting("FAIL_ERRNO"));
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define REPLACE(result, call, name, parameters, arguments, ours) \
    result name parameters { return fails(call, ours) ? (result)-1 : REAL(name) arguments; }

REPLACE(ssize_t, "pwrite", pwrite, (int fd, const void* from, size_t size, off_t at), (fd, from, size, at), is_open_file_ours(fd))
REPLACE(ssize_t, "pwrite", pwrite64, (int fd, const void* from, size_t size, off64_t at), (fd, from, size, at), is_open_file_ours(fd))
REPLACE(ssize_t, "pwrite", pwritev, (int fd, const struct iovec* from, int size, off_t at), (fd, from, size, at), is_open_file_ours(fd))
REPLACE(ssize_t, "write", write, (int fd, const void* from, size_t size), (fd, from, size), is_open_file_ours(fd))
REPLACE(ssize_t, "write", writev, (int fd, const struct iovec* from, int size), (fd, from, size), is_open_file_ours(fd))
REPLACE(ssize_t, "read", read, (int fd, void* to, size_t size), (fd, to, size), is_open_file_ours(fd))
REPLACE(ssize_t, "pread", pread, (int fd, void* to, size_t size, off_t at), (fd, to, size, at), is_open_file_ours(fd))
REPLACE(ssize_t, "pread", pread64, (int fd, void* to, size_t size, off64_t at), (fd, to, size, at), is_open_file_ours(fd))
REPLACE(int, "fsync", fsync, (int fd), (fd), is_open_file_ours(fd))
REPLACE(int, "fdatasync", fdatasync, (int fd), (fd), is_open_file_ours(fd))
REPLACE(int, "ftruncate", ftruncate, (int fd, off_t size), (fd, size), is_open_file_ours(fd))
REPLACE(int, "ftruncate", ftruncate64, (int fd, off64_t size), (fd, size), is_open_file_ours(fd))
REPLACE(int, "fallocate", fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size), is_open_file_ours(fd))
REPLACE(int, "fallocate", fallocate64, (int fd, int mode, off64_t at, off64_t size), (fd, mode, at, size), is_open_file_ours(fd))
REPLACE(int, "flock", flock, (int fd, int what), (fd, what), is_open_file_ours(fd))
REPLACE(int, "rename", rename, (const char* from, const char* to), (from, to), is_ours(from))
REPLACE(int, "mkdir", mkdir, (const char* path, mode_t mode), (path, mode), is_ours(path))
REPLACE(ssize_t, "sendfile", sendfile, (int to, int from, off_t* at, size_t size), (to, from, at, size), is_open_file_ours(to))
REPLACE(int, "unlink", unlinkat, (int folder, const char* path, int flags), (folder, path, flags), is_ours(path) || is_open_file_ours(folder))
REPLACE(int, "unlink", unlink, (const char* path), (path), is_ours(path))
REPLACE(int, "unlink", remove, (const char* path), (path), is_ours(path))

#define REPLACE_OPEN(name)                                            \
    int name(const char* path, int flags, ...) {                      \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                 \
        return fails("open", is_ours(path)) ? -1 : REAL(name)(path, flags, mode); \
    }
REPLACE_OPEN(open)
REPLACE_OPEN(open64)

FILE* fopen(const char* path, const char* mode) { return fails("open", is_ours(path)) ? NULL : REAL(fopen)(path, mode); }
FILE* fopen64(const char* path, const char* mode) { return fails("open", is_ours(path)) ? NULL : REAL(fopen64)(path, mode); }
void* mmap(void* at, size_t size, int what, int flags, int fd, off_t from) {
    return fd >= 0 && fails("mmap", is_open_file_ours(fd)) ? MAP_FAILED : REAL(mmap)(at, size, what, flags, fd, from);
}
void* mmap64(void* at, size_t size, int what, int flags, int fd, off64_t from) {
    return fd >= 0 && fails("mmap", is_open_file_ours(fd)) ? MAP_FAILED : REAL(mmap64)(at, size, what, flags, fd, from);
}
