/* SPDX-License-Identifier: Apache-2.0
 *
 * A disk that refuses: preloaded into a process, it fails a share of the writes below one folder.
 *
 *     FAULTY_ROOT    the folder; nothing else is touched
 *     FAULTY_SHARE   of writes that fail, per mille: half of them with ENOSPC, half with EIO, nothing written
 *     FAULTY_SEED    of the dice, to which the process number is added
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static __thread unsigned int dice;

static int refused(int file)
{
    const char *root = getenv("FAULTY_ROOT"), *share = getenv("FAULTY_SHARE"), *seed = getenv("FAULTY_SEED");
    char link[64], path[4096];
    ssize_t length;

    if (!root || !share)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0 || (size_t)length < strlen(root) || strncmp(path, root, strlen(root)))
        return 0;
    if (!dice)
        dice = (seed ? (unsigned int)atoi(seed) : 1u) * 7919u + (unsigned int)getpid() * 31u + (unsigned int)gettid();
    if (rand_r(&dice) % 1000 >= atoi(share))
        return 0;
    errno = rand_r(&dice) % 2 ? ENOSPC : EIO;
    return 1;
}

#define FAULTY(result, name, parameters, arguments)                    \
    result name parameters                                             \
    {                                                                  \
        static result(*real) parameters;                               \
        if (!real)                                                     \
            real = (result(*) parameters)dlsym(RTLD_NEXT, #name);      \
        return refused(file) ? -1 : real arguments;                    \
    }

FAULTY(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
FAULTY(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
FAULTY(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
FAULTY(ssize_t, writev, (int file, const struct iovec *data, int count), (file, data, count))
FAULTY(ssize_t, pwritev, (int file, const struct iovec *data, int count, off_t at), (file, data, count, at))
FAULTY(ssize_t, pwritev64, (int file, const struct iovec *data, int count, off64_t at), (file, data, count, at))
FAULTY(int, ftruncate, (int file, off_t size), (file, size))
FAULTY(int, ftruncate64, (int file, off64_t size), (file, size))
FAULTY(int, fallocate, (int file, int mode, off_t at, off_t size), (file, mode, at, size))
FAULTY(int, fallocate64, (int file, int mode, off64_t at, off64_t size), (file, mode, at, size))

/* It returns its error instead of setting errno. */
int posix_fallocate64(int file, off64_t at, off64_t size)
{
    static int (*real)(int, off64_t, off64_t);
    if (!real)
        real = (int (*)(int, off64_t, off64_t))dlsym(RTLD_NEXT, "posix_fallocate64");
    return refused(file) ? errno : real(file, at, size);
}

int posix_fallocate(int file, off_t at, off_t size)
{
    return posix_fallocate64(file, at, size);
}
