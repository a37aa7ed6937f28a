/* Preloaded into a runner: the n-th call of one kind that touches the instance fails with a chosen errno.
 *
 * FAIL_CALL = write | fsync | rename,  FAIL_AT = n (from 1),  FAIL_ERRNO = number,  FAIL_BELOW = a folder.
 * FAIL_COUNT = how many calls in a row fail (default 1). FAIL_LOG: a file that gets a byte when a call fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int seen;

static int below(const char *path) {
    const char *folder = getenv("FAIL_BELOW");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int descriptor_below(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path) && !strstr(path, "/logs/");
}

static int fails(const char *call) {
    const char *wanted = getenv("FAIL_CALL"), *at = getenv("FAIL_AT"), *count = getenv("FAIL_COUNT");
    if (!wanted || !at || strcmp(wanted, call)) return 0;
    int number = __sync_add_and_fetch(&seen, 1), first = atoi(at);
    if (number < first || number >= first + (count ? atoi(count) : 1)) return 0;
    const char *log = getenv("FAIL_LOG");
    if (log) {
        int descriptor = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        if (descriptor >= 0) { real(descriptor, "x", 1); close(descriptor); }
    }
    errno = atoi(getenv("FAIL_ERRNO"));
    return 1;
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    return descriptor_below(descriptor) && fails("write") ? -1 : real(descriptor, bytes, size);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return descriptor_below(descriptor) && fails("write") ? -1 : real(descriptor, bytes, size, at);
}

int fsync(int descriptor) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return descriptor_below(descriptor) && fails("fsync") ? -1 : real(descriptor);
}

int fdatasync(int descriptor) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return descriptor_below(descriptor) && fails("fsync") ? -1 : real(descriptor);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "rename");
    return below(to) && fails("rename") ? -1 : real(from, to);
}
