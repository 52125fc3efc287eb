#include "platform/replacement.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether the descriptor is still the file of that name. */
static bool is_named(int descriptor, const char *path) {
    struct stat opened, named;
    return fstat(descriptor, &opened) == 0 && stat(path, &named) == 0 && opened.st_ino == named.st_ino &&
           opened.st_dev == named.st_dev;
}

/* Whoever holds the lock writes the part; it goes with the process, so that a part of one that was killed is taken
 * over. Where a file system knows no locks there is nobody to keep out. -1: in use, or it can't be opened. */
static int part_open(const char *part, bool *busy) {
    for (int tries = 0; tries < 16; tries++) {
        int descriptor = open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor < 0) return -1;
        int locked = flock(descriptor, LOCK_EX | LOCK_NB);
        *busy = locked != 0 && errno == EWOULDBLOCK;
        if (!*busy && is_named(descriptor, part) && ftruncate(descriptor, 0) == 0) return descriptor;
        close(descriptor); /* in use; or another process has just given it its name */
        if (*busy) return -1;
    }
    return -1;
}

fv_status fv_replacement_begin(fv_replacement *replacement, const char *path, fv_message *message) {
    if (snprintf(replacement->part, sizeof replacement->part, "%s" FV_REPLACEMENT_ENDING, path) >=
        (int)sizeof replacement->part)
        return fv_message_set(message, FV_ERROR_FILE, "%s: the name is too long", path);
    replacement->path = path;
    replacement->busy = false;
    int descriptor = part_open(replacement->part, &replacement->busy);
    if (replacement->busy)
        return fv_message_set(message, FV_ERROR_FILE, "%s: is being written by another process", path);
    replacement->file = descriptor >= 0 ? fdopen(descriptor, "w") : NULL;
    if (descriptor >= 0 && !replacement->file) close(descriptor);
    return FV_OK;
}

/* A name is durable when its folder is. */
void fv_folder_sync(const char *path) {
    char folder[4096] = ".";
    const char *slash = strrchr(path, '/');
    if (slash && (size_t)(slash - path) + 2 <= sizeof folder)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    (void)fsync(descriptor);
    close(descriptor);
}

/* The part is renamed, or removed, before it is closed: until then nobody else takes it. */
fv_status fv_replacement_end(fv_replacement *replacement, bool good, fv_message *message) {
    FILE *file = replacement->file;
    good = good && file;
    if (file && (fflush(file) != 0 || fsync(fileno(file)) != 0)) good = false;
    if (good && rename(replacement->part, replacement->path) != 0) good = false;
    if (!good && file) remove(replacement->part);
    if (good) fv_folder_sync(replacement->path);
    if (file && fclose(file) != 0) good = false;
    return good ? FV_OK : fv_message_set(message, FV_ERROR_FILE, "%s: can't be written", replacement->path);
}

void fv_replacement_sweep(const char *part) {
    int descriptor = open(part, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) unlink(part);
    close(descriptor);
}
