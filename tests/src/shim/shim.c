/* Stands between a process and the system's library, before every change of a file below the folder DATA.
 *
 * What it does is up to files in the folder FAULTS, and may change at any time:
 *
 *   sync, write    syncs, or writes, fail
 *   note           each change is appended to the file "changes": what, and the path below DATA
 *   kill           "WHAT PATTERN N": the process gets SIGKILL before the Nth change of that kind whose path fits the
 *                  pattern, counted from when this was first found; the change is then appended to "killed"
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int seen;

static int control(const char *name, int flags) {
    char path[PATH_MAX];
    const char *folder = getenv("FAULTS");
    if (!folder || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int) sizeof path) return -1;
    return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0644);
}

static int is_set(const char *name) {
    int fd = control(name, O_RDONLY);
    if (fd < 0) return 0;
    close(fd);
    return 1;
}

static void append(const char *name, const char *what, const char *path) {
    char line[PATH_MAX + 32];
    int length = snprintf(line, sizeof line, "%s %s\n", what, path);
    int fd = control(name, O_WRONLY | O_CREAT | O_APPEND);
    if (fd < 0) return;
    if (syscall(SYS_write, fd, line, length) != length) abort();
    close(fd);
}

static void killed_at(const char *what, const char *path) {
    static char before[PATH_MAX + 64];
    char line[sizeof before] = "", kind[32], pattern[PATH_MAX];
    int nth, fd = control("kill", O_RDONLY);
    if (fd >= 0) {
        ssize_t length = read(fd, line, sizeof line - 1);
        line[length < 0 ? 0 : length] = 0;
        close(fd);
    }
    if (strcmp(line, before)) seen = 0;
    strcpy(before, line);
    if (sscanf(line, "%31s %4095s %d", kind, pattern, &nth) != 3) return;
    if (strcmp(kind, what) || fnmatch(pattern, path, FNM_PATHNAME) || ++seen != nth) return;
    append("killed", what, path);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* The change WHAT is about to be made at PATH. */
static void changes(const char *what, const char *path) {
    const char *data = getenv("DATA");
    size_t length = data ? strlen(data) : 0;
    if (!length || strncmp(path, data, length) || (path[length] && path[length] != '/')) return;
    path += length + (path[length] == '/');
    int before = errno;
    pthread_mutex_lock(&lock);
    if (is_set("note")) append("changes", what, *path ? path : ".");
    killed_at(what, *path ? path : ".");
    pthread_mutex_unlock(&lock);
    errno = before;
}

static void changes_at(const char *what, const char *path) {
    char whole[PATH_MAX * 2], folder[PATH_MAX];
    if (path[0] == '/' || !getcwd(folder, sizeof folder)) return changes(what, path);
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    changes(what, whole);
}

static void changes_file(const char *what, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    changes(what, path);
}

static int fails(const char *what) {
    if (!is_set(what)) return 0;
    errno = EIO;
    return 1;
}

#define REAL(type, name, ...) ((type (*)(__VA_ARGS__)) dlsym(RTLD_NEXT, #name))

int fdatasync(int fd) {
    changes_file("sync", fd);
    return fails("sync") ? -1 : REAL(int, fdatasync, int)(fd);
}

int fsync(int fd) {
    changes_file("sync", fd);
    return REAL(int, fsync, int)(fd);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off_t at) {
    changes_file("write", fd);
    return fails("write") ? -1 : REAL(ssize_t, pwrite64, int, const void *, size_t, off_t)(fd, from, count, at);
}

ssize_t write(int fd, const void *from, size_t count) {
    changes_file("write", fd);
    return REAL(ssize_t, write, int, const void *, size_t)(fd, from, count);
}

int ftruncate64(int fd, off_t length) {
    changes_file("truncate", fd);
    return REAL(int, ftruncate64, int, off_t)(fd, length);
}

int rename(const char *from, const char *to) {
    changes_at("rename", to);
    return REAL(int, rename, const char *, const char *)(from, to);
}

int unlink(const char *path) {
    changes_at("remove", path);
    return REAL(int, unlink, const char *)(path);
}

int mkdir(const char *path, mode_t mode) {
    if (access(path, F_OK)) changes_at("make", path);
    return REAL(int, mkdir, const char *, mode_t)(path, mode);
}

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
        if (access(path, F_OK)) changes_at("make", path);
        else if (flags & O_TRUNC) changes_at("truncate", path);
    }
    return REAL(int, open64, const char *, int, ...)(path, flags, mode);
}
