/* File operations that fail on demand: loaded before the C library (LD_PRELOAD), so that nothing above it escapes.
 *
 * While armed, every operation on a path beneath one folder is counted, and noted as "KIND PATH"; operation number `at`
 * (from 1) goes wrong as `mode` says. Disarmed, everything passes. Paths are compared as they are given (or as
 * /proc/self/fd has them for descriptors): the folder must be named without symbolic links.
 *
 * Not for threads: a fault belongs to one process that does one thing at a time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, FAIL, FAIL_ON, FULL, SHORT, SHORT_FAIL, CRASH_BEFORE, CRASH_HALF, CRASH_AFTER };
enum { STATUS_CRASH = 99, ROOM = 1 << 20 };

static char root[PATH_MAX], notes[ROOM];
static size_t noted;
static long at, count;
static int mode, code, armed, pending;

/* Begin to count beneath `folder`; operation `number` goes wrong. */
void failing_arm(const char *folder, long number, int how, int error)
{
    snprintf(root, sizeof root, "%s", folder);
    at = number, mode = how, code = error, count = 0, noted = 0, pending = 0, notes[0] = 0;
    armed = 1;
}

void failing_disarm(void) { armed = 0; }
long failing_count(void) { return count; }
const char *failing_notes(void) { return notes; }

__attribute__((constructor)) static void from_environment(void)
{
    const char *folder = getenv("FAILING_FOLDER"), *number = getenv("FAILING_AT");
    const char *how = getenv("FAILING_MODE"), *error = getenv("FAILING_ERRNO");
    if (folder && number && how)
        failing_arm(folder, atol(number), atoi(how), error ? atoi(error) : EIO);
}

static int beneath(const char *path)
{
    size_t length = strlen(root);
    return !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

/* The absolute name of `path` as seen from `directory`; of the descriptor itself where `path` is NULL. */
static int whole(int directory, const char *path, char *name)
{
    char link[64], base[PATH_MAX];
    if (path && path[0] == '/')
        return snprintf(name, PATH_MAX, "%s", path) > 0;
    snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
    ssize_t size = readlink(link, base, sizeof base - 1);
    if (size < 0)
        return 0;
    base[size] = 0;
    return snprintf(name, PATH_MAX, path ? "%s/%s" : "%s", base, path) > 0;
}

static int allocates(const char *kind)
{
    return !strcmp(kind, "write") || !strcmp(kind, "create") || !strcmp(kind, "link") || !strcmp(kind, "mkdir") ||
           !strcmp(kind, "copy");
}

/* What this operation is to do: COUNT (pass) or another mode. */
static int fate(const char *kind, int directory, const char *path)
{
    char name[PATH_MAX];
    int before = errno;
    if (!armed || !whole(directory, path, name) || !beneath(name)) {
        errno = before;
        return COUNT;
    }
    errno = before;
    count++;
    if (noted + strlen(kind) + strlen(name) + 3 < ROOM)
        noted += sprintf(notes + noted, "%s %s\n", kind, name);
    int changes = strcmp(kind, "open") && strcmp(kind, "close") && strcmp(kind, "fsync");
    if (count > at && ((mode == FULL && allocates(kind)) || (mode == FAIL_ON && changes)))
        return FAIL;
    if (pending && !strcmp(kind, "write")) {
        pending = 0;
        return FAIL;
    }
    if (count != at)
        return COUNT;
    if (mode == CRASH_BEFORE)
        _exit(STATUS_CRASH);
    return mode == FULL || mode == FAIL_ON ? FAIL : mode;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

/* An operation that is done wholly or not at all. */
#define SIMPLE(kind, directory, path, failed, call) \
    do { \
        int how = fate(kind, directory, path); \
        if (how == FAIL) { \
            errno = code; \
            return failed; \
        } \
        __typeof__(call) result = call; \
        if (how == CRASH_AFTER) \
            _exit(STATUS_CRASH); \
        return result; \
    } while (0)

/* Half of `size` bytes where that is the fault, and what comes after. */
#define WRITING(kind, fd, size, call) \
    do { \
        int how = fate(kind, fd, NULL); \
        if (how == FAIL) { \
            errno = code; \
            return -1; \
        } \
        if (how >= SHORT && how <= CRASH_HALF && size > 1) \
            size /= 2; \
        ssize_t result = call; \
        if (how == CRASH_HALF || how == CRASH_AFTER) \
            _exit(STATUS_CRASH); \
        pending |= how == SHORT_FAIL; \
        return result; \
    } while (0)

static const char *opening(int flags)
{
    return flags & O_CREAT ? "create" : (flags & O_ACCMODE) == O_RDONLY ? "open" : "open-to-write";
}

#define MODE_OF(flags) \
    mode_t bits = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        bits = va_arg(more, mode_t); \
        va_end(more); \
    }

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        MODE_OF(flags) \
        REAL(int, name, const char *, int, ...); \
        SIMPLE(opening(flags), AT_FDCWD, path, -1, real(path, flags, bits)); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int directory, const char *path, int flags, ...) \
    { \
        MODE_OF(flags) \
        REAL(int, name, int, const char *, int, ...); \
        SIMPLE(opening(flags), directory, path, -1, real(directory, path, flags, bits)); \
    }
OPENAT(openat)
OPENAT(openat64)

#define CREAT(name) \
    int name(const char *path, mode_t bits) \
    { \
        REAL(int, name, const char *, mode_t); \
        SIMPLE("create", AT_FDCWD, path, -1, real(path, bits)); \
    }
CREAT(creat)
CREAT(creat64)

/* stdio writes from inside the C library: its streams fail when they are opened. */
#define FOPEN(name) \
    FILE *name(const char *path, const char *how_to) \
    { \
        REAL(FILE *, name, const char *, const char *); \
        SIMPLE(how_to[0] == 'r' && !strchr(how_to, '+') ? "open" : "create", AT_FDCWD, path, NULL, real(path, how_to)); \
    }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    WRITING("write", fd, size, real(fd, data, size));
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) \
    { \
        REAL(ssize_t, name, int, const void *, size_t, offset_type); \
        WRITING("write", fd, size, real(fd, data, size, offset)); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int size)
{
    REAL(ssize_t, writev, int, const struct iovec *, int);
    WRITING("write", fd, size, real(fd, parts, size));
}

ssize_t sendfile(int out, int in, off_t *offset, size_t size)
{
    REAL(ssize_t, sendfile, int, int, off_t *, size_t);
    WRITING("copy", out, size, real(out, in, offset, size));
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t size)
{
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    WRITING("copy", out, size, real(out, in, offset, size));
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags)
{
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    WRITING("copy", out, size, real(in, from, out, to, size, flags));
}

#define OF_DESCRIPTOR(name, kind) \
    int name(int fd) \
    { \
        REAL(int, name, int); \
        SIMPLE(kind, fd, NULL, -1, real(fd)); \
    }
OF_DESCRIPTOR(fsync, "fsync")
OF_DESCRIPTOR(fdatasync, "fsync")

/* A close that fails has closed all the same. */
int close(int fd)
{
    REAL(int, close, int);
    int how = fate("close", fd, NULL), result = real(fd);
    if (how == CRASH_AFTER)
        _exit(STATUS_CRASH);
    if (how == FAIL) {
        errno = code;
        return -1;
    }
    return result;
}

#define TRUNCATE(name, offset_type) \
    int name(int fd, offset_type size) \
    { \
        REAL(int, name, int, offset_type); \
        SIMPLE("truncate", fd, NULL, -1, real(fd, size)); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define TRUNCATE_PATH(name, offset_type) \
    int name(const char *path, offset_type size) \
    { \
        REAL(int, name, const char *, offset_type); \
        SIMPLE("truncate", AT_FDCWD, path, -1, real(path, size)); \
    }
TRUNCATE_PATH(truncate, off_t)
TRUNCATE_PATH(truncate64, off64_t)

#define OF_PATH(name, kind) \
    int name(const char *path) \
    { \
        REAL(int, name, const char *); \
        SIMPLE(kind, AT_FDCWD, path, -1, real(path)); \
    }
OF_PATH(unlink, "unlink")
OF_PATH(remove, "unlink")
OF_PATH(rmdir, "rmdir")

int unlinkat(int directory, const char *path, int flags)
{
    REAL(int, unlinkat, int, const char *, int);
    SIMPLE("unlink", directory, path, -1, real(directory, path, flags));
}

int mkdir(const char *path, mode_t bits)
{
    REAL(int, mkdir, const char *, mode_t);
    SIMPLE("mkdir", AT_FDCWD, path, -1, real(path, bits));
}

int mkdirat(int directory, const char *path, mode_t bits)
{
    REAL(int, mkdirat, int, const char *, mode_t);
    SIMPLE("mkdir", directory, path, -1, real(directory, path, bits));
}

int link(const char *from, const char *to)
{
    REAL(int, link, const char *, const char *);
    SIMPLE("link", AT_FDCWD, to, -1, real(from, to));
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    SIMPLE("link", b, to, -1, real(a, from, b, to, flags));
}

int symlink(const char *target, const char *path)
{
    REAL(int, symlink, const char *, const char *);
    SIMPLE("link", AT_FDCWD, path, -1, real(target, path));
}

int rename(const char *from, const char *to)
{
    REAL(int, rename, const char *, const char *);
    SIMPLE("rename", AT_FDCWD, to, -1, real(from, to));
}

int renameat(int a, const char *from, int b, const char *to)
{
    REAL(int, renameat, int, const char *, int, const char *);
    SIMPLE("rename", b, to, -1, real(a, from, b, to));
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    SIMPLE("rename", b, to, -1, real(a, from, b, to, flags));
}
