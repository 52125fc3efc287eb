/* file_map.c - maps a file read-only; anything but a regular file with bytes in it is refused with the reason. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* madvise */
#endif
#include "gguf/file_map.h"
#include "platform/linux_only.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static fv_status system_error(const char *path, const char *action, int error, fv_message *message) {
    char reason[128];
    if (strerror_r(error, reason, sizeof reason) != 0) reason[0] = 0;
    fv_status status = error == ENOMEM ? FV_ERROR_MEMORY : FV_ERROR_FILE;
    return fv_message_set(message, status, "%s: cannot %s: %s (error %d)", path, action, reason, error);
}

static fv_status map_descriptor(int descriptor, fv_file_map *map, const char *path, fv_message *message) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return system_error(path, "ask for the size", errno, message);
    if (S_ISDIR(info.st_mode))
        return fv_message_set(message, FV_ERROR_FILE, "%s: is a folder; name the file in it", path);
    if (!S_ISREG(info.st_mode))
        return fv_message_set(message, FV_ERROR_FILE, "%s: is no regular file; copy its content into one", path);
    if (info.st_size <= 0) return fv_message_set(message, FV_ERROR_FILE, "%s: is empty; download it again", path);
    if ((uintmax_t)info.st_size > SIZE_MAX / 2)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "%s: has %ju bytes, more than a program can address here; use a 64-bit build", path,
                              (uintmax_t)info.st_size);
    size_t count = (size_t)info.st_size;
    void *bytes = mmap(NULL, count, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED) return system_error(path, "map it", errno, message);
    *map = (fv_file_map){.bytes = bytes, .count = count};
    return FV_OK;
}

fv_status fv_file_map_open(fv_file_map *map, const char *path, fv_message *message) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* non-blocking: a pipe must not hang us */
    if (descriptor < 0) return system_error(path, "open it", errno, message);
    fv_status status = map_descriptor(descriptor, map, path, message);
    close(descriptor); /* the mapping stays */
    return status;
}

void fv_file_map_release(const fv_file_map *map, const void *data, size_t bytes) {
    uintptr_t begin = (uintptr_t)data, base = (uintptr_t)map->bytes, page = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (begin < base || begin - base > map->count || bytes > map->count - (begin - base)) return;
    uintptr_t first = (begin + page - 1) / page * page, end = (begin + bytes) / page * page;
    if (first < end) (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

void fv_file_map_close(fv_file_map *map) {
    if (map->bytes) munmap((void *)(uintptr_t)map->bytes, map->count); /* through uintptr_t: munmap takes no const */
    *map = (fv_file_map){0};
}
