// Loaded before libc (LD_PRELOAD): sees every call that changes what lies below one folder, writes it down, and lets
// one of them be the last (before it, after it, in the middle of it) or fail (no space, a broken disk). Until a process
// arms it, it only passes calls on. Its log has a line for each call that was carried out: name, path, number, path.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, BEFORE, AFTER, TORN, FULL, BROKEN };

static char folder[PATH_MAX], wanted_name[32], wanted_path[PATH_MAX], full_path[PATH_MAX];
static int log_fd = -1, wanted_nth, wanted_fault;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void say(const char *text) { if (syscall(SYS_write, log_fd, text, strlen(text)) < 0) _exit(97); }

static void die(void) {
    say("killed\t\t0\t\n");
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

// name, path: of the one call to disturb, as `below` spells it, or any of them; nth: from 1; fault: of the enumeration above, or 0.
void arm_calls(const char *below, const char *log, const char *name, const char *path, int nth, int fault) {
    log_fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log_fd < 0) _exit(97);
    snprintf(wanted_name, sizeof wanted_name, "%s", name);
    snprintf(wanted_path, sizeof wanted_path, "%s", path);
    wanted_nth = nth, wanted_fault = fault;
    snprintf(folder, sizeof folder, "%s", below);
}

static int is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// The path below the folder, or NULL.
static const char *below(char *found, int directory, const char *path) {
    if (!folder[0] || !path) return NULL;
    if (path[0] == '/') {
        snprintf(found, PATH_MAX, "%s", path);
    } else {
        char link[64];
        if (directory == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t length = readlink(link, found, PATH_MAX / 2);
        if (length < 0) return NULL;
        snprintf(found + length, PATH_MAX - length, "%s%s", path[0] ? "/" : "", path);
    }
    size_t length = strlen(folder);
    if (strncmp(found, folder, length)) return NULL;
    if (!found[length]) return ".";
    return found[length] == '/' ? found + length + 1 : NULL;
}

static const char *open_file(char *found, int file) { return below(found, file, ""); }

// Whether a path is the wanted one, in which `*` stands for 16 hexadecimal digits, `~` for a UUID: names drawn at random.
static int fits(const char *path, const char *pattern) {
    for (; *pattern; pattern++) {
        int drawn = *pattern == '*' ? 16 : *pattern == '~' ? 36 : 0;
        if (!drawn && *path++ != *pattern) return 0;
        for (; drawn; drawn--, path++) if (!is_hex(*path) && *path != '-') return 0;
    }
    return !*path;
}

// What is to happen to this call. All calls below the folder go one after the other, so that the log has their order.
static int begin(const char *name, const char *path) {
    pthread_mutex_lock(&one_at_a_time);
    if (full_path[0] && !strcmp(full_path, path) && strstr(name, "write")) {
        full_path[0] = 0;
        return FULL;
    }
    int is_wanted = !strcmp(wanted_name, "any") || (!strcmp(name, wanted_name) && fits(path, wanted_path));
    if (!wanted_nth || !is_wanted || --wanted_nth) return NONE;
    say("disturbed\t\t0\t\n");
    if (wanted_fault == BEFORE) die();
    return wanted_fault;
}

static void end(int fault, long result, const char *name, const char *path, long number, const char *other) {
    int error = errno;
    if (result >= 0) {
        char line[2 * PATH_MAX + 64];
        snprintf(line, sizeof line, "%s\t%s\t%ld\t%s\n", name, path, number, other);
        say(line);
    }
    if (fault == AFTER || fault == TORN) die();
    pthread_mutex_unlock(&one_at_a_time);
    errno = error;
}

static int fails(int fault) {
    if (fault != FULL && fault != BROKEN) return 0;
    errno = fault == FULL ? ENOSPC : EIO;
    return 1;
}

#define CALL(type, name, path, number, other, carried_out)               \
    do {                                                                 \
        int fault = begin(name, path);                                   \
        type result = fails(fault) ? (type)-1 : (type)(carried_out);     \
        end(fault, (long)result, name, path, number, other);             \
        return result;                                                   \
    } while (0)

#define OPENS(function, real)                                                                        \
    int function(const char *path, int flags, ...) {                                                 \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more);       \
        char found[PATH_MAX]; const char *at = flags & (O_CREAT | O_TRUNC) ? below(found, AT_FDCWD, path) : NULL; \
        if (!at) return REAL(real)(path, flags, mode);                                               \
        CALL(int, "open", at, flags & O_TRUNC ? 1 : 0, "", REAL(real)(path, flags, mode));           \
    }
OPENS(open, open)
OPENS(open64, open64)

#define OPENS_AT(function, real)                                                                     \
    int function(int directory, const char *path, int flags, ...) {                                  \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more);       \
        char found[PATH_MAX]; const char *at = flags & (O_CREAT | O_TRUNC) ? below(found, directory, path) : NULL; \
        if (!at) return REAL(real)(directory, path, flags, mode);                                    \
        CALL(int, "open", at, flags & O_TRUNC ? 1 : 0, "", REAL(real)(directory, path, flags, mode)); \
    }
OPENS_AT(openat, openat)
OPENS_AT(openat64, openat64)

// What is torn, and what does not fit, is half of the bytes; of what does not fit the other half fails.
#define WRITES(name, file, bytes, half, whole)                           \
    do {                                                                 \
        char found[PATH_MAX]; const char *at = open_file(found, file);   \
        if (!at) return whole;                                           \
        int is_rest = full_path[0] && !strcmp(full_path, at);            \
        int fault = begin(name, at);                                     \
        ssize_t result;                                                  \
        if (fault == TORN || (fault == FULL && !is_rest && (bytes) > 1)) { \
            result = half;                                               \
            if (fault == FULL) snprintf(full_path, sizeof full_path, "%s", at); \
        } else result = fails(fault) ? -1 : (whole);                     \
        end(fault, result, name, at, (long)result, "");                  \
        return result;                                                   \
    } while (0)

ssize_t write(int file, const void *from, size_t bytes) {
    WRITES("write", file, bytes, REAL(write)(file, from, bytes / 2), REAL(write)(file, from, bytes));
}

static size_t bytes_of(const struct iovec *parts, int count) {
    size_t bytes = 0;
    for (int at = 0; at < count; at++) bytes += parts[at].iov_len;
    return bytes;
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    WRITES("write", file, bytes_of(parts, count), REAL(write)(file, parts[0].iov_base, parts[0].iov_len / 2),
           REAL(writev)(file, parts, count));
}

#define WRITES_AT(function, offset_type)                                                         \
    ssize_t function(int file, const void *from, size_t bytes, offset_type offset) {             \
        WRITES("pwrite", file, bytes, REAL(function)(file, from, bytes / 2, offset),             \
               REAL(function)(file, from, bytes, offset));                                       \
    }
WRITES_AT(pwrite, off_t)
WRITES_AT(pwrite64, off64_t)

#define ON_FILE(type, function, name, arguments, passed, number)                    \
    type function arguments {                                                       \
        char found[PATH_MAX]; const char *at = open_file(found, file);              \
        if (!at) return REAL(function) passed;                                      \
        CALL(type, name, at, number, "", REAL(function) passed);                    \
    }
ON_FILE(int, fsync, "fsync", (int file), (file), 0)
ON_FILE(int, fdatasync, "fsync", (int file), (file), 0)
ON_FILE(int, ftruncate, "truncate", (int file, off_t size), (file, size), (long)size)
ON_FILE(int, ftruncate64, "truncate", (int file, off64_t size), (file, size), (long)size)
ON_FILE(int, fallocate, "allocate", (int file, int mode, off_t offset, off_t size), (file, mode, offset, size), 0)
ON_FILE(ssize_t, copy_file_range, "copy",
        (int from, off64_t *begins, int file, off64_t *offset, size_t bytes, unsigned flags),
        (from, begins, file, offset, bytes, flags), 0)
ON_FILE(ssize_t, sendfile, "copy", (int file, int from, off_t *offset, size_t bytes), (file, from, offset, bytes), 0)
ON_FILE(ssize_t, sendfile64, "copy", (int file, int from, off64_t *offset, size_t bytes), (file, from, offset, bytes), 0)

#define ON_PATH(function, name, arguments, directory, passed)                       \
    int function arguments {                                                        \
        char found[PATH_MAX]; const char *at = below(found, directory, path);       \
        if (!at) return REAL(function) passed;                                      \
        CALL(int, name, at, 0, "", REAL(function) passed);                          \
    }
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), AT_FDCWD, (path, mode))
ON_PATH(mkdirat, "mkdir", (int directory, const char *path, mode_t mode), directory, (directory, path, mode))
ON_PATH(rmdir, "rmdir", (const char *path), AT_FDCWD, (path))
ON_PATH(unlink, "unlink", (const char *path), AT_FDCWD, (path))
ON_PATH(unlinkat, "unlink", (int directory, const char *path, int flags), directory, (directory, path, flags))
ON_PATH(symlink, "symlink", (const char *to, const char *path), AT_FDCWD, (to, path))
ON_PATH(truncate, "truncate", (const char *path, off_t size), AT_FDCWD, (path, size))
ON_PATH(creat, "open", (const char *path, mode_t mode), AT_FDCWD, (path, mode))

#define ON_TWO(function, name, arguments, from_directory, to_directory, passed)     \
    int function arguments {                                                        \
        char found[PATH_MAX], other[PATH_MAX];                                      \
        const char *to = below(other, to_directory, new), *at = below(found, from_directory, old); \
        if (!to) return REAL(function) passed;                                      \
        CALL(int, name, to, 0, at ? at : "", REAL(function) passed);                \
    }
ON_TWO(rename, "rename", (const char *old, const char *new), AT_FDCWD, AT_FDCWD, (old, new))
ON_TWO(link, "link", (const char *old, const char *new), AT_FDCWD, AT_FDCWD, (old, new))
ON_TWO(renameat, "rename", (int from, const char *old, int to_, const char *new), from, to_, (from, old, to_, new))
ON_TWO(renameat2, "rename", (int from, const char *old, int to_, const char *new, unsigned flags), from, to_,
       (from, old, to_, new, flags))
ON_TWO(linkat, "link", (int from, const char *old, int to_, const char *new, int flags), from, to_,
       (from, old, to_, new, flags))
