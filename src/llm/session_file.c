/* session_file.c - reads session files. The head is checked as a whole when a file is opened, and then each number in
 * it; a segment when it is first used. */
#include "fovea/session_file.h"
#include "gguf/file_map.h"
#include "llm/session_layout.h"
#include "llm/session_pack.h"
#include "llm/session_segments.h"
#include "numeric/size.h"
#include "platform/array.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A segment in the file. */
typedef struct session_part {
    size_t offset, bytes;
    uint64_t checksum;
    atomic_uchar is_good; /* 1: it was checked */
} session_part;

typedef struct session_layer {
    uint32_t first;       /* segment */
    size_t first_part;    /* its place among the parts */
    size_t segment_bytes; /* in memory */
} session_layer;

struct fv_session_file {
    fv_session_file *self; /* this one: a session holds it as const, and must count itself in all the same */
    atomic_uint holders;   /* whoever opened it, and each segment that a session reads here */
    fv_file_map map;       /* empty: the bytes are the caller's */
    const uint8_t *bytes;
    size_t count;
    char *path; /* for messages */
    fv_session_info info;
    fv_session_places places;
    fv_session_split split;
    uint32_t *split_layers; /* [split.stages] */
    int32_t *tokens;        /* [info.tokens] */
    session_layer *layers;  /* [info.layers] */
    session_part *parts;
    size_t part_count;
    char *texts; /* of the info */
};

static fv_status damaged(const fv_session_file *file, const char *what, fv_message *message) {
    return fv_message_set(message, FV_ERROR_CORRUPT, "%s: is damaged: %s; read the document again", file->path, what);
}

static fv_status no_memory(const fv_session_file *file, fv_message *message) {
    return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory for its table", file->path);
}

/* ---- opening ---- */

static fv_status read_header(fv_session_file *file, fv_session_numbers *numbers, fv_message *message) {
    fv_status status = FV_OK;
    const char *fault = "is no session file";
    if (file->count < FV_SESSION_HEADER) return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %s", file->path, fault);
    fault = fv_session_header_get(file->bytes, numbers, &status);
    if (fault) return fv_message_set(message, status, "%s: %s", file->path, fault);
    if (numbers->file_bytes != file->count)
        return fv_message_set(message, FV_ERROR_CORRUPT,
                              "%s: has %zu bytes where it should have %" PRIu64 "; read the document again", file->path,
                              file->count, numbers->file_bytes);
    if (numbers->head_bytes > file->count || numbers->head_bytes < FV_SESSION_ALIGN)
        return damaged(file, "its head does not fit", message);
    if (fv_hash64(0, file->bytes + FV_SESSION_HEADER, (size_t)numbers->head_bytes - FV_SESSION_HEADER) !=
        fv_le64_get(file->bytes + FV_SESSION_AT_HEAD_CHECKSUM))
        return damaged(file, "the checksum of its head is wrong", message);
    return FV_OK;
}

/* The head is whole: what is not believed yet are the counts in it. */
static fv_status read_records(fv_session_file *file, const fv_session_numbers *numbers, uint32_t *stage_of,
                              fv_message *message) {
    uint32_t segments = fv_session_segments(numbers->tokens);
    for (uint32_t layer = 0; layer < numbers->layers; layer++) {
        const uint8_t *record = file->bytes + FV_SESSION_HEADER + FV_SESSION_LAYER * (size_t)layer;
        session_layer *read = &file->layers[layer];
        bool elsewhere = numbers->stamp && fv_le32_get(record + 4) == 0;
        stage_of[layer] = elsewhere ? fv_le32_get(record) : UINT32_MAX;
        *read = (session_layer){.first = elsewhere ? segments : fv_le32_get(record), .first_part = file->part_count};
        if (elsewhere && stage_of[layer] == UINT32_MAX) return damaged(file, "a layer is nobody's", message);
        if (elsewhere) continue;
        if (read->first >= segments) return damaged(file, "a layer has no segments", message);
        if (fv_le32_get(record + 4) == 0 ||
            !fv_size_add(&read->segment_bytes, fv_le32_get(record + 4), FV_SESSION_UNIT, 1))
            return damaged(file, "the size of a segment can't be", message);
        file->part_count += segments - read->first;
    }
    return FV_OK;
}

/* Stages have layers that follow each other, and this file those of one. stage_of[layer]: UINT32_MAX: this one's. */
static fv_status read_split(fv_session_file *file, const fv_session_numbers *numbers, const uint32_t *stage_of,
                            fv_message *message) {
    uint32_t stage = 0, own = UINT32_MAX;
    file->split_layers = fv_array_new(numbers->layers, sizeof *file->split_layers);
    if (!file->split_layers) return no_memory(file, message);
    memset(file->split_layers, 0, numbers->layers * sizeof *file->split_layers);
    for (uint32_t layer = 0; layer < numbers->layers; layer++) {
        bool is_own = stage_of[layer] == UINT32_MAX;
        bool begins = layer > 0 && (is_own ? own == UINT32_MAX : stage_of[layer] != stage || own == stage);
        if (begins) stage++;
        if (is_own && own == UINT32_MAX) own = stage;
        if (is_own ? own != stage : stage_of[layer] != stage)
            return damaged(file, "the layers of its ranks do not follow each other", message);
        file->split_layers[stage]++;
    }
    if (own == UINT32_MAX || (numbers->stamp == 0) != (stage == 0))
        return damaged(file, "it has not the layers of one rank", message);
    file->split = (fv_session_split){numbers->stamp, file->split_layers, stage + 1, own};
    return FV_OK;
}

/* Where each layer begins, and how many segments there are. */
static fv_status read_layers(fv_session_file *file, const fv_session_numbers *numbers, fv_message *message) {
    if (!fv_session_places_make(numbers, 0, &file->places) || file->places.bytes > numbers->head_bytes)
        return damaged(file, "its head is too short", message);
    file->layers = fv_array_new(numbers->layers, sizeof *file->layers);
    uint32_t *stage_of = fv_array_new(numbers->layers, sizeof *stage_of);
    fv_status status = file->layers && stage_of ? FV_OK : no_memory(file, message);
    if (status == FV_OK) status = read_records(file, numbers, stage_of, message);
    if (status == FV_OK) status = read_split(file, numbers, stage_of, message);
    free(stage_of);
    if (status != FV_OK) return status;
    if (!fv_session_places_make(numbers, file->part_count, &file->places) || file->places.bytes != numbers->head_bytes)
        return damaged(file, "its head has another length", message);
    return FV_OK;
}

static fv_status read_tokens(fv_session_file *file, const fv_session_numbers *numbers, fv_message *message) {
    file->tokens = fv_array_new(numbers->tokens, sizeof *file->tokens);
    if (!file->tokens) return no_memory(file, message);
    for (uint32_t i = 0; i < numbers->tokens; i++) {
        uint32_t id = fv_le32_get(file->bytes + file->places.ids + 4 * (size_t)i);
        if (id >= numbers->vocabulary) return damaged(file, "a token is none of the model's", message);
        file->tokens[i] = (int32_t)id;
    }
    return FV_OK;
}

/* Segments follow each other, each from a multiple of FV_SESSION_ALIGN on, up to the end of the file. */
static fv_status read_table(fv_session_file *file, const fv_session_numbers *numbers, fv_message *message) {
    size_t offset = (size_t)numbers->head_bytes, part = 0;
    uint32_t segments = fv_session_segments(numbers->tokens);
    file->parts = fv_array_new(file->part_count, sizeof *file->parts);
    if (!file->parts) return no_memory(file, message);
    for (uint32_t layer = 0; layer < numbers->layers; layer++)
        for (uint32_t index = file->layers[layer].first; index < segments; index++, part++) {
            const uint8_t *entry = file->bytes + file->places.table + part * FV_SESSION_ENTRY;
            uint64_t bytes = fv_le64_get(entry), segment_bytes = file->layers[layer].segment_bytes;
            bool is_last = index + 1 == segments;
            if (bytes == 0 || bytes > segment_bytes || (bytes < segment_bytes && !is_last))
                return damaged(file, "a segment has a size that can't be", message);
            file->parts[part].offset = offset;
            file->parts[part].bytes = (size_t)bytes;
            file->parts[part].checksum = fv_le64_get(entry + 8);
            size_t padded = ((size_t)bytes + FV_SESSION_ALIGN - 1) / FV_SESSION_ALIGN * FV_SESSION_ALIGN;
            if (padded > file->count - offset) return damaged(file, "a segment is beyond its end", message);
            offset += padded;
        }
    return offset == file->count ? FV_OK : damaged(file, "there is more than its segments", message);
}

static fv_status fill_info(fv_session_file *file, const fv_session_numbers *numbers, fv_message *message) {
    size_t name = numbers->name_bytes, attention = numbers->attention_bytes;
    const uint8_t *texts = file->bytes + file->places.texts;
    file->texts = fv_array_new(name + attention + 2, 1);
    if (!file->texts) return no_memory(file, message);
    memcpy(file->texts, texts, name);
    memcpy(file->texts + name + 1, texts + name, attention);
    file->info = (fv_session_info){.model = numbers->model,
                                   .file_bytes = numbers->file_bytes,
                                   .cache = numbers->cache,
                                   .version = numbers->stamp ? FV_SESSION_VERSION_STAGE : FV_SESSION_VERSION,
                                   .vocabulary = numbers->vocabulary,
                                   .layers = numbers->layers,
                                   .tokens = numbers->tokens,
                                   .exact_activations = numbers->exact_activations,
                                   .end = numbers->end,
                                   .model_name = file->texts,
                                   .attention = file->texts + name + 1};
    return FV_OK;
}

static fv_status file_read(fv_session_file *file, fv_message *message) {
    fv_session_numbers numbers;
    fv_status status = read_header(file, &numbers, message);
    if (status == FV_OK) status = read_layers(file, &numbers, message);
    if (status == FV_OK) status = read_tokens(file, &numbers, message);
    if (status == FV_OK) status = read_table(file, &numbers, message);
    return status == FV_OK ? fill_info(file, &numbers, message) : status;
}

/* Takes the map. */
static fv_status file_open(fv_session_file **file, fv_file_map map, const void *bytes, size_t count, const char *name,
                           fv_message *message) {
    fv_session_file *made = calloc(1, sizeof *made);
    char *path = strdup(name);
    if (!made || !path) {
        free(made);
        free(path);
        fv_file_map_close(&map);
        return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory", name);
    }
    *made = (fv_session_file){.self = made, .map = map, .bytes = bytes, .count = count, .path = path};
    atomic_init(&made->holders, 1);
    fv_status status = file_read(made, message);
    if (status == FV_OK)
        *file = made;
    else
        fv_session_file_close(made);
    return status;
}

fv_status fv_session_file_open_memory(fv_session_file **file, const void *bytes, size_t count, const char *name,
                                      fv_message *message) {
    return file_open(file, (fv_file_map){0}, bytes, count, name, message);
}

fv_status fv_session_file_open(fv_session_file **file, const char *path, fv_message *message) {
    fv_file_map map = {0};
    if (!file || !path) return fv_message_set(message, FV_ERROR_ARGUMENT, "no session file was given");
    fv_status status = fv_file_map_open(&map, path, message);
    return status == FV_OK ? file_open(file, map, map.bytes, map.count, path, message) : status;
}

void fv_session_file_close(fv_session_file *file) {
    if (!file || atomic_fetch_sub(&file->holders, 1) != 1) return;
    fv_file_map_close(&file->map);
    free(file->path);
    free(file->tokens);
    free(file->layers);
    free(file->parts);
    free(file->split_layers);
    free(file->texts);
    free(file);
}

bool fv_session_file_is(const char *path) {
    uint8_t begin[8];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* non-blocking: a pipe must not hang us */
    if (descriptor < 0) return false;
    bool is = read(descriptor, begin, sizeof begin) == sizeof begin && memcmp(begin, FV_SESSION_MAGIC, 8) == 0;
    close(descriptor);
    return is;
}

/* ---- what is in it ---- */

const fv_session_info *fv_session_file_info(const fv_session_file *file) { return &file->info; }
const int32_t *fv_session_file_tokens(const fv_session_file *file) { return file->tokens; }
const fv_session_split *fv_session_file_split(const fv_session_file *file) { return &file->split; }
const char *fv_session_file_path(const fv_session_file *file) { return file->path; }
uint32_t fv_session_file_first(const fv_session_file *file, uint32_t layer) { return file->layers[layer].first; }

size_t fv_session_file_segment_bytes(const fv_session_file *file, uint32_t layer) {
    return file->layers[layer].segment_bytes;
}

void fv_session_file_hold(const fv_session_file *file) { atomic_fetch_add(&file->self->holders, 1); }

uint32_t fv_session_file_shared(const fv_session_file *file, const int32_t *tokens, size_t count) {
    uint32_t shared = 0;
    while (shared < file->info.tokens && shared < count && tokens[shared] == file->tokens[shared]) shared++;
    return shared;
}

static bool part_is_good(const fv_session_file *file, const session_part *part, size_t segment_bytes) {
    const uint8_t *bytes = file->bytes + part->offset;
    size_t padding = (FV_SESSION_ALIGN - part->bytes % FV_SESSION_ALIGN) % FV_SESSION_ALIGN;
    if (fv_hash64(0, bytes, part->bytes) != part->checksum) return false;
    for (size_t i = 0; i < padding; i++)
        if (bytes[part->bytes + i] != 0) return false;
    return part->bytes == segment_bytes || fv_session_unpack(bytes, part->bytes, NULL, segment_bytes);
}

/* The segment, whole; NULL: damaged, and the message says so. Two threads that come first check it both. */
static session_part *part_of(const fv_session_file *file, uint32_t layer, uint32_t index, fv_message *message) {
    const session_layer *of = &file->layers[layer];
    session_part *part = &file->parts[of->first_part + (index - of->first)];
    if (atomic_load_explicit(&part->is_good, memory_order_relaxed)) return part;
    if (part_is_good(file, part, of->segment_bytes)) {
        atomic_store_explicit(&part->is_good, 1, memory_order_relaxed);
        return part;
    }
    fv_message_set(message, FV_ERROR_CORRUPT,
                   "%s: is damaged: segment %" PRIu32 " of layer %" PRIu32 "; read the document again", file->path,
                   index, layer);
    return NULL;
}

static bool has_segment(const fv_session_file *file, uint32_t layer, uint32_t index) {
    return layer < file->info.layers && index >= file->layers[layer].first &&
           index < fv_session_segments(file->info.tokens);
}

fv_status fv_session_file_segment(const fv_session_file *file, uint32_t layer, uint32_t index, const void **mapped,
                                  fv_message *message) {
    const session_part *part = NULL;
    if (has_segment(file, layer, index)) {
        part = part_of(file, layer, index, message);
        if (!part) return FV_ERROR_CORRUPT;
    }
    *mapped = part && part->bytes == file->layers[layer].segment_bytes ? file->bytes + part->offset : NULL;
    return FV_OK;
}

fv_status fv_session_file_read(const fv_session_file *file, uint32_t layer, uint32_t index, void *memory,
                               fv_message *message) {
    if (!has_segment(file, layer, index))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: has no such segment", file->path);
    const session_part *part = part_of(file, layer, index, message);
    if (!part) return FV_ERROR_CORRUPT;
    size_t segment_bytes = file->layers[layer].segment_bytes;
    if (part->bytes == segment_bytes)
        memcpy(memory, file->bytes + part->offset, segment_bytes);
    else
        (void)fv_session_unpack(file->bytes + part->offset, part->bytes, memory, segment_bytes); /* was checked */
    return FV_OK;
}

fv_status fv_session_file_check(const fv_session_file *file, fv_message *message) {
    for (uint32_t layer = 0; layer < file->info.layers; layer++)
        for (uint32_t index = file->layers[layer].first; has_segment(file, layer, index); index++)
            if (!part_of(file, layer, index, message)) return FV_ERROR_CORRUPT;
    return FV_OK;
}
