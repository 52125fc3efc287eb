/* prefix_store.c - files named by what they hold: KEY-FIRST-ALL-SEGMENTS.fovea, hexadecimal. KEY is of model, caches
 * and policy, FIRST of the ids of the first segment, ALL of those of all segments, each chained to the one before.
 * Files that share FIRST may share more: their heads have the ids. */
#include "fovea/prefix_store.h"
#include "fovea/policy_text.h"
#include "llm/llm.h"
#include "llm/sequence_state.h"
#include "llm/session_layout.h"
#include "platform/replacement.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ENDING ".fovea"
#define PART_ENDING ENDING FV_REPLACEMENT_ENDING
#define STALE_SECONDS 600 /* a part that nobody has written to for so long, and nobody holds, is a killed process's */
#define PATH_BYTES 4096

struct fv_prefix_store {
    char *folder;
    uint64_t limit_bytes;
};

fv_status fv_prefix_store_open(fv_prefix_store **store, const char *folder, uint64_t limit_bytes, fv_message *message) {
    if (!store || !folder || !folder[0]) return fv_message_set(message, FV_ERROR_ARGUMENT, "no folder was given");
    struct stat info;
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return fv_message_set(message, FV_ERROR_FILE, "%s: the folder can't be made", folder);
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode))
        return fv_message_set(message, FV_ERROR_FILE, "%s: is no folder", folder);
    fv_prefix_store *made = calloc(1, sizeof *made);
    char *copy = strdup(folder);
    if (!made || !copy) {
        free(made);
        free(copy);
        return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory", folder);
    }
    *made = (fv_prefix_store){.folder = copy, .limit_bytes = limit_bytes};
    *store = made;
    return FV_OK;
}

void fv_prefix_store_close(fv_prefix_store *store) {
    if (!store) return;
    free(store->folder);
    free(store);
}

/* ---- names ---- */

/* Of all that must be the same besides the tokens. */
static uint64_t key_of(const fv_sequence *sequence) {
    const fv_cache_config *cache = &sequence->shape.cache;
    const uint32_t numbers[] = {cache->key_type, cache->value_type, cache->landmark_tokens,           cache->shadow,
                                cache->margins,  cache->tail,       sequence->shape.exact_activations};
    char attention[FV_POLICY_TEXT_BYTES] = "";
    fv_policy policy = sequence->policy;
    uint64_t key = fv_llm_identity(sequence->llm);
    if (policy.head_share) key = fv_hash64(key, policy.head_share, policy.head_share_count * sizeof *policy.head_share);
    policy.head_share = NULL;
    policy.head_share_count = 0;
    if (fv_policy_format(&policy, attention, sizeof attention) != FV_OK) attention[0] = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uint8_t bytes[4];
        fv_le32_put(bytes, numbers[i]);
        key = fv_hash64(key, bytes, sizeof bytes);
    }
    return fv_hash64(key, attention, strlen(attention));
}

/* The chain over the first `segments` segments; *first: after one. */
static uint64_t chain_of(uint64_t key, const int32_t *tokens, uint32_t segments, uint64_t *first) {
    uint64_t chain = key;
    for (size_t i = 0; i < (size_t)segments * FV_SEGMENT_TOKENS; i++) {
        uint8_t bytes[4];
        fv_le32_put(bytes, (uint32_t)tokens[i]);
        chain = fv_hash64(chain, bytes, sizeof bytes);
        if (i + 1 == FV_SEGMENT_TOKENS) *first = chain;
    }
    return chain;
}

static bool path_make(const fv_prefix_store *store, const char *name, char *path) {
    return snprintf(path, PATH_BYTES, "%s/%s", store->folder, name) < PATH_BYTES;
}

static bool ends(const char *name, const char *ending) {
    size_t length = strlen(name), tail = strlen(ending);
    return length > tail && strcmp(name + length - tail, ending) == 0;
}

/* ---- finding ---- */

/* Opens the file if it shares more segments than *best, which then says how many. */
static void consider(const char *path, const int32_t *tokens, size_t count, uint32_t *best, fv_session_file **file) {
    fv_session_file *opened = NULL;
    if (fv_session_file_open(&opened, path, NULL) != FV_OK) return; /* gone meanwhile, or damaged */
    uint32_t shared = fv_session_file_shared(opened, tokens, count) / FV_SEGMENT_TOKENS;
    if (shared <= *best) {
        fv_session_file_close(opened);
        return;
    }
    fv_session_file_close(*file);
    *file = opened;
    *best = shared;
}

fv_status fv_prefix_store_find(const fv_prefix_store *store, const fv_sequence *sequence, const int32_t *tokens,
                               size_t count, fv_session_file **file, fv_message *message) {
    if (!store || !sequence || !file || (count && !tokens)) return FV_ERROR_ARGUMENT;
    char begin[40], path[PATH_BYTES], used[PATH_BYTES] = "";
    uint64_t key = key_of(sequence), first = 0;
    uint32_t best = 0, before;
    fv_session_file *found = NULL;
    if (count >= FV_SEGMENT_TOKENS) (void)chain_of(key, tokens, 1, &first);
    snprintf(begin, sizeof begin, "%016" PRIx64 "-%016" PRIx64 "-", key, first);
    DIR *folder = opendir(store->folder);
    if (!folder) return fv_message_set(message, FV_ERROR_FILE, "%s: the folder can't be read", store->folder);
    for (struct dirent *entry; count >= FV_SEGMENT_TOKENS && (entry = readdir(folder));) {
        if (strncmp(entry->d_name, begin, strlen(begin)) != 0 || !ends(entry->d_name, ENDING)) continue;
        before = best;
        if (path_make(store, entry->d_name, path)) consider(path, tokens, count, &best, &found);
        if (best > before) memcpy(used, path, sizeof used);
    }
    closedir(folder);
    if (found) (void)utimensat(AT_FDCWD, used, NULL, 0);
    *file = found;
    return FV_OK;
}

/* ---- making room ---- */

/* Bytes of all files; oldest: the path of the one that was used least recently, "" if there is none. */
static uint64_t folder_look(const fv_prefix_store *store, char *oldest) {
    struct timespec least = {0};
    uint64_t bytes = 0;
    char path[PATH_BYTES];
    DIR *folder = opendir(store->folder);
    oldest[0] = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        struct stat info;
        bool part = ends(entry->d_name, PART_ENDING);
        if ((!part && !ends(entry->d_name, ENDING)) || !path_make(store, entry->d_name, path)) continue;
        if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) continue;
        if (part && info.st_mtim.tv_sec + STALE_SECONDS < time(NULL)) fv_replacement_sweep(path);
        if (part) continue;
        bytes += (uint64_t)info.st_size;
        bool older = info.st_mtim.tv_sec < least.tv_sec ||
                     (info.st_mtim.tv_sec == least.tv_sec && info.st_mtim.tv_nsec < least.tv_nsec);
        if (oldest[0] && !older) continue;
        least = info.st_mtim;
        memcpy(oldest, path, sizeof path);
    }
    if (folder) closedir(folder);
    return bytes;
}

/* Files go, the least recently used first, until `needed` bytes more are within the limit. */
static void make_room(const fv_prefix_store *store, uint64_t needed) {
    char oldest[PATH_BYTES];
    while (folder_look(store, oldest) > store->limit_bytes - needed && oldest[0])
        if (unlink(oldest) != 0 && errno != ENOENT) return; /* not ours to remove */
}

/* ---- keeping ---- */

/* At least the bytes of a file with so many segments. */
static uint64_t bytes_of(const fv_sequence *sequence, uint32_t segments) {
    uint64_t bytes = FV_SESSION_ALIGN + (uint64_t)segments * FV_SEGMENT_TOKENS * 4;
    for (uint32_t layer = sequence->first_layer; layer < sequence->layers_end; layer++)
        for (uint32_t i = 0; i < segments; i++)
            if (*fv_sequence_segment(sequence, layer, i))
                bytes += (sequence->segment_bytes[layer] + FV_SESSION_ALIGN - 1) / FV_SESSION_ALIGN * FV_SESSION_ALIGN;
    return bytes;
}

fv_status fv_prefix_store_keep(const fv_prefix_store *store, fv_sequence *sequence, fv_message *message) {
    if (!store || !sequence) return FV_ERROR_ARGUMENT;
    uint32_t segments = (uint32_t)(fv_sequence_tokens(sequence) / FV_SEGMENT_TOKENS);
    uint32_t tokens = segments * FV_SEGMENT_TOKENS, block = sequence->shape.cache.landmark_tokens;
    uint64_t bytes = bytes_of(sequence, segments), first = 0;
    /* a landmark across the end would have tokens that are not kept; a sliding window must reach back from it */
    if (segments == 0 || bytes > store->limit_bytes || (block && FV_SEGMENT_TOKENS % block != 0) ||
        tokens < fv_sequence_earliest(sequence))
        return FV_OK;
    uint64_t key = key_of(sequence), chain = chain_of(key, fv_sequence_ids(sequence), segments, &first);
    char name[96], path[PATH_BYTES];
    bool busy = false;
    snprintf(name, sizeof name, "%016" PRIx64 "-%016" PRIx64 "-%016" PRIx64 "-%" PRIu32 ENDING, key, first, chain,
             segments);
    if (!path_make(store, name, path))
        return fv_message_set(message, FV_ERROR_FILE, "%s: the name is too long", store->folder);
    if (utimensat(AT_FDCWD, path, NULL, 0) == 0) return FV_OK; /* it is there, and was used now */
    make_room(store, bytes);
    fv_status status = fv_sequence_save_part(sequence, tokens, path, FV_SESSION_END_PLAIN, &busy, message);
    if (busy && message) message->text[0] = 0; /* another process keeps it */
    if (!busy) make_room(store, 0);
    return busy ? FV_OK : status;
}
