/* stage_files.c - see stage_files.h. */
#include "llm/stage_files.h"
#include "fovea/machine.h"
#include "llm/hash64.h"
#include "platform/replacement.h"
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STAMP_DIGITS = 16 };

void fv_stage_file_name(char name[FV_STAGE_FILE_NAME], const char *path, uint64_t stamp, uint32_t index) {
    snprintf(name, FV_STAGE_FILE_NAME, "%s.%016" PRIx64 ".rank%" PRIu32, path, stamp, index);
}

/* Whether `name` is BASE.STAMP.rank<r>, or the part of one. */
static bool is_stage_file(const char *name, const char *base, uint64_t *stamp) {
    static const char hex[] = "0123456789abcdef", rank[] = ".rank";
    size_t length = strlen(base);
    if (strncmp(name, base, length) != 0 || name[length] != '.') return false;
    const char *digits = name + length + 1;
    if (strspn(digits, hex) != STAMP_DIGITS || strncmp(digits + STAMP_DIGITS, rank, sizeof rank - 1) != 0) return false;
    const char *number = digits + STAMP_DIGITS + sizeof rank - 1;
    size_t count = strspn(number, "0123456789");
    *stamp = strtoull(digits, NULL, 16);
    return count > 0 && (number[count] == 0 || strcmp(number + count, FV_REPLACEMENT_ENDING) == 0);
}

/* Those of `stamp`, or all but those of `stamp` and `kept`. */
static void files_remove(const char *path, bool those, uint64_t stamp, uint64_t kept) {
    char folder[FV_STAGE_FILE_NAME] = ".", name[2 * FV_STAGE_FILE_NAME];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (slash) snprintf(folder, sizeof folder, "%.*s", (int)(slash == path ? 1 : slash - path), path);
    DIR *list = opendir(folder);
    if (!list) return;
    for (const struct dirent *entry; (entry = readdir(list)) != NULL;) {
        uint64_t its = 0;
        if (!is_stage_file(entry->d_name, base, &its)) continue;
        if ((its == stamp) != those || (!those && its == kept)) continue;
        if (snprintf(name, sizeof name, "%s/%s", folder, entry->d_name) < (int)sizeof name) unlink(name);
    }
    closedir(list);
}

void fv_stage_files_drop(const char *path, uint64_t stamp) {
    if (stamp) files_remove(path, true, stamp, 0);
}

void fv_stage_files_sweep(const char *path, uint64_t stamp, uint64_t kept) { files_remove(path, false, stamp, kept); }

uint64_t fv_stage_stamp(void) {
    const uint64_t numbers[] = {fv_machine_seed(), fv_machine_seed(), fv_machine_clock_ns(), (uint64_t)getpid()};
    uint64_t stamp = fv_hash64(0, numbers, sizeof numbers);
    return stamp ? stamp : 1;
}

void fv_split_text(const fv_session_split *split, char text[FV_SPLIT_TEXT]) {
    size_t used = 0;
    for (uint32_t i = 0; i < split->stages; i++) {
        if (used > FV_SPLIT_TEXT - 20) {
            memcpy(text + used, ",...", 5);
            return;
        }
        used += (size_t)snprintf(text + used, FV_SPLIT_TEXT - used, "%s%" PRIu32, i ? "," : "", split->layers[i]);
    }
}
