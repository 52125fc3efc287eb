#include "platform/replacement.h"
#include <unistd.h>

fv_status fv_replacement_begin(fv_replacement *replacement, const char *path, fv_message *message) {
    if (snprintf(replacement->part, sizeof replacement->part, "%s.part", path) >= (int)sizeof replacement->part)
        return fv_message_set(message, FV_ERROR_FILE, "%s: the name is too long", path);
    replacement->path = path;
    replacement->file = fopen(replacement->part, "w");
    return FV_OK;
}

fv_status fv_replacement_end(fv_replacement *replacement, bool good, fv_message *message) {
    FILE *file = replacement->file;
    good = good && file;
    if (file && (fflush(file) != 0 || fsync(fileno(file)) != 0)) good = false;
    if (file && fclose(file) != 0) good = false;
    if (good && rename(replacement->part, replacement->path) != 0) good = false;
    if (!good && file) remove(replacement->part);
    return good ? FV_OK : fv_message_set(message, FV_ERROR_FILE, "%s: can't be written", replacement->path);
}
