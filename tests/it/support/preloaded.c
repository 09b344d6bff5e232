/* Preloaded into a hub: a disk whose syncs fail ("fail") or take their time ("slow"), or that can't be written any more
 * ("readonly"), while a file of that name is in the directory that TIMEBACK_FAULTS names; and a wall clock that is
 * wrong by as many milliseconds as the file "clock" there says. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int path_of(char *path, size_t size, const char *name) {
    const char *directory = getenv("TIMEBACK_FAULTS");
    if (directory == NULL) return 0;
    snprintf(path, size, "%s/%s", directory, name);
    return 1;
}

static int is_set(const char *name) {
    char path[4096];
    return path_of(path, sizeof path, name) && access(path, F_OK) == 0;
}

static int sync_or_not(long call, int file) {
    if (is_set("slow")) usleep(300 * 1000);
    if (is_set("fail")) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, file);
}

int fsync(int file) { return sync_or_not(SYS_fsync, file); }

int fdatasync(int file) { return sync_or_not(SYS_fdatasync, file); }

/* Whether it is a file, and none is to be written. */
static int is_refused(int file) {
    struct stat about;
    if (!is_set("readonly") || fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) return 0;
    errno = EROFS;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    return is_refused(file) ? -1 : (ssize_t)syscall(SYS_write, file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    return is_refused(file) ? -1 : (ssize_t)syscall(SYS_pwrite64, file, bytes, count, at);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { return pwrite64(file, bytes, count, at); }

int ftruncate64(int file, off64_t length) { return is_refused(file) ? -1 : (int)syscall(SYS_ftruncate, file, length); }

int ftruncate(int file, off_t length) { return ftruncate64(file, length); }

/* Milliseconds by which the wall clock is wrong. */
static long long clock_shift(void) {
    char path[4096], text[32] = {0};
    if (!path_of(path, sizeof path, "clock")) return 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t count = read(file, text, sizeof text - 1);
    close(file);
    return count > 0 ? atoll(text) : 0;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, which, now);
    if (result == 0 && which == CLOCK_REALTIME) {
        int kept = errno;
        long long shift = clock_shift();
        errno = kept;
        long long nanos = now->tv_nsec + shift % 1000 * 1000000;
        now->tv_sec += shift / 1000 + (nanos < 0 ? -1 : nanos >= 1000000000 ? 1 : 0);
        now->tv_nsec = (nanos + 1000000000) % 1000000000;
    }
    return result;
}
