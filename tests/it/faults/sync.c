/* Preloaded into a hub: a disk whose syncs fail, or take their time, while a file of that name is in the directory that
 * TIMEBACK_FAULTS names. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_set(const char *name) {
    const char *directory = getenv("TIMEBACK_FAULTS");
    char path[4096];
    if (directory == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return access(path, F_OK) == 0;
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
