/* file_map.c - maps a file read-only; anything but a regular file with bytes in it is refused with the reason. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* madvise */
#endif
#include "gguf/file_map.h"
#include "platform/linux_only.h"
#include "platform/map_guard.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
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

struct fv_file_mark {
    struct stat info;
    char path[];
};

/* NULL: no memory. */
static struct fv_file_mark *mark_make(const struct stat *info, const char *path) {
    size_t bytes = strlen(path) + 1;
    struct fv_file_mark *mark = malloc(sizeof *mark + bytes);
    if (!mark) return NULL;
    mark->info = *info;
    memcpy(mark->path, path, bytes);
    return mark;
}

bool fv_file_map_is_unchanged(const fv_file_map *map) {
    const struct stat *was = &map->mark->info;
    struct stat is;
    if (stat(map->mark->path, &is) != 0 || is.st_dev != was->st_dev || is.st_ino != was->st_ino) return true;
    return is.st_size == was->st_size && is.st_mtim.tv_sec == was->st_mtim.tv_sec &&
           is.st_mtim.tv_nsec == was->st_mtim.tv_nsec;
}

const char *fv_file_map_path(const fv_file_map *map) { return map->mark->path; }

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
    struct fv_file_mark *mark = mark_make(&info, path);
    void *bytes = mark ? mmap(NULL, count, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
    if (bytes == MAP_FAILED) {
        int error = mark ? errno : ENOMEM;
        free(mark);
        return system_error(path, "map it", error, message);
    }
    *map = (fv_file_map){.bytes = bytes, .count = count, .mark = mark};
    fv_map_guard_add(bytes, count, mark->path);
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
    fv_map_guard_remove(map->bytes);
    if (map->bytes) munmap((void *)(uintptr_t)map->bytes, map->count); /* through uintptr_t: munmap takes no const */
    free(map->mark);
    *map = (fv_file_map){0};
}
