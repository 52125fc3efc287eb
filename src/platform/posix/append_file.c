#include "platform/append_file.h"
#include "platform/array.h"
#include "platform/replacement.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_named(int descriptor, const char *path) {
    struct stat opened, named;
    return fstat(descriptor, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

fv_append_found fv_append_open(fv_append_file *file, const char *path, bool creates) {
    for (int tries = 0; tries < 16; tries++) {
        int descriptor = open(path, O_RDWR | O_CLOEXEC | (creates ? O_CREAT : 0), 0666);
        if (descriptor < 0) return errno == ENOENT && !creates ? FV_APPEND_NONE : FV_APPEND_FAILED;
        bool busy = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        struct stat info;
        if (!busy && is_named(descriptor, path) && fstat(descriptor, &info) == 0) {
            if (creates) fv_folder_sync(path);
            *file = (fv_append_file){.descriptor = descriptor, .end = (uint64_t)info.st_size};
            return FV_APPEND_OPEN;
        }
        close(descriptor); /* somebody has it, or has just removed it */
        if (busy) return FV_APPEND_BUSY;
    }
    return FV_APPEND_FAILED;
}

void fv_append_close(fv_append_file *file) {
    if (file->descriptor >= 0) close(file->descriptor);
    file->descriptor = -1;
}

static bool put_all(int descriptor, const uint8_t *bytes, size_t count, uint64_t at) {
    while (count) {
        ssize_t written = pwrite(descriptor, bytes, count, (off_t)at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes += written;
        count -= (size_t)written;
        at += (uint64_t)written;
    }
    return true;
}

bool fv_append_cut(fv_append_file *file, uint64_t end) {
    bool good = ftruncate(file->descriptor, (off_t)end) == 0 && fsync(file->descriptor) == 0;
    file->is_broken |= !good;
    if (good) file->end = end;
    return good;
}

bool fv_append_put(fv_append_file *file, size_t count, const void *const *parts, const size_t *bytes) {
    uint64_t end = file->end;
    bool good = !file->is_broken;
    for (size_t i = 0; good && i < count; i++) {
        good = put_all(file->descriptor, parts[i], bytes[i], end);
        end += bytes[i];
    }
    if (good && fsync(file->descriptor) == 0) {
        file->end = end;
        return true;
    }
    if (!file->is_broken) fv_append_cut(file, file->end);
    return false;
}

bool fv_append_head(const fv_append_file *file, uint8_t *bytes, size_t count) {
    return pread(file->descriptor, bytes, count, 0) == (ssize_t)count;
}

static fv_status read_all(int descriptor, const char *path, uint8_t **bytes, size_t *count, fv_message *message) {
    struct stat info;
    if (fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode))
        return fv_message_set(message, FV_ERROR_FILE, "%s: is no file that can be read", path);
    uint8_t *all = fv_array_new((size_t)info.st_size, 1);
    size_t have = 0;
    if (!all) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory to read it", path);
    while (have < (size_t)info.st_size) {
        ssize_t got = read(descriptor, all + have, (size_t)info.st_size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break; /* it was cut meanwhile */
        have += (size_t)got;
    }
    *bytes = all;
    *count = have;
    return FV_OK;
}

fv_status fv_append_read(const char *path, uint8_t **bytes, size_t *count, fv_message *message) {
    *bytes = NULL;
    *count = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT) return FV_OK;
    if (descriptor < 0) return fv_message_set(message, FV_ERROR_FILE, "%s: can't be read", path);
    fv_status status = read_all(descriptor, path, bytes, count, message);
    close(descriptor);
    return status;
}
