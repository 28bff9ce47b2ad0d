/*
 * What a C library or a kernel may do and seldom does, for a program that is started with this library in LD_PRELOAD.
 *
 * SHIM_TORN=DIRECTORY: the next listing of a directory "leases" is torn, if there is a file DIRECTORY/armed. It reads all
 * names, creates DIRECTORY/listing, and waits for DIRECTORY/go, at most a second. A name whose file is gone by then is not
 * returned, and neither is a name that is new: POSIX (readdir) leaves both open for names that change during a listing.
 *
 * SHIM_SETNS=N: every setns() after the first N fails with ENOMEM.
 *
 * SHIM_NFS=1: directories cannot be locked, as on NFS.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 4096

static DIR *torn;
static struct dirent names[MOST];
static int count, next;

static int control(const char *name, int flags)
{
    char path[4096];
    const char *directory = getenv("SHIM_TORN");
    if (!directory)
        return -1;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return flags < 0 ? unlink(path) : open(path, flags | O_CLOEXEC, 0600);
}

static int is_leases(DIR *stream)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd(stream));
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 7 && !strcmp(path + length - 7, "/leases");
}

struct dirent *readdir(DIR *stream)
{
    struct dirent *(*real)(DIR *) = (struct dirent * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir");
    if (stream != torn) {
        int before = errno; /* the caller tells the end of a directory from a failure by it */
        if (!is_leases(stream) || control("armed", -1) != 0) {
            errno = before;
            return real(stream);
        }
        torn = stream;
        count = next = 0;
        struct dirent *entry;
        while (count < MOST && (entry = real(stream)))
            names[count++] = *entry;
        close(control("listing", O_CREAT | O_WRONLY));
        int fd = -1;
        for (int waits = 0; waits < 100 && (fd = control("go", O_RDONLY)) < 0; waits++)
            usleep(10000);
        if (fd >= 0)
            close(fd);
    }
    while (next < count) {
        struct dirent *entry = &names[next++];
        if (faccessat(dirfd(stream), entry->d_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return entry;
    }
    torn = NULL;
    errno = 0;
    return NULL;
}

struct dirent64 *readdir64(DIR *stream)
{
    return (struct dirent64 *) readdir(stream); /* one layout on 64-bit Linux */
}

int setns(int fd, int type)
{
    static int calls;
    const char *most = getenv("SHIM_SETNS");
    if (most && ++calls > atoi(most)) {
        errno = ENOMEM;
        return -1;
    }
    return syscall(SYS_setns, fd, type);
}

int flock(int fd, int operation)
{
    struct stat status;
    if (getenv("SHIM_NFS") && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        errno = EBADF;
        return -1;
    }
    return syscall(SYS_flock, fd, operation);
}
