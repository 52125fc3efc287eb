/* session_write.c - writes session files: a head of zeros, the segments, then the head that knows their checksums. The
 * file takes its name when all of it is durable. */
#include "llm/session_layout.h"
#include "llm/session_pack.h"
#include "llm/session_segments.h"
#include "platform/array.h"
#include "platform/pages.h"
#include "platform/replacement.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct session_writer {
    const fv_session_image *image;
    fv_session_numbers numbers;
    fv_session_places places;
    uint32_t segments; /* of a layer that has all */
    uint32_t *first;   /* [layers] */
    uint8_t *head;     /* [places.bytes] */
    uint8_t *packed;   /* a segment of any layer */
    void *last;        /* a copy of a layer's last segment, cleared of tokens that are no more */
    size_t last_bytes; /* that it has room for: of the largest segment */
    uint8_t *entry;    /* of the head's table: the next */
    FILE *file;
} session_writer;

static size_t text_bytes(const char *text) {
    size_t length = text ? strlen(text) : 0;
    return length < FV_SESSION_TEXT_MOST ? length : FV_SESSION_TEXT_MOST;
}

static fv_session_numbers numbers_of(const fv_session_image *image) {
    const fv_session_info *info = image->info;
    fv_session_numbers numbers = {.model = info->model,
                                  .cache = info->cache,
                                  .vocabulary = info->vocabulary,
                                  .layers = info->layers,
                                  .tokens = info->tokens,
                                  .segment_tokens = FV_SESSION_SEGMENT_TOKENS,
                                  .exact_activations = info->exact_activations,
                                  .end = info->end,
                                  .stamp = image->split ? image->split->stamp : 0,
                                  .name_bytes = (uint32_t)text_bytes(info->model_name),
                                  .attention_bytes = (uint32_t)text_bytes(info->attention)};
    numbers.cache.max_tokens = 0;
    return numbers;
}

/* Whether a reader would take the numbers. */
static bool numbers_fit(const fv_session_numbers *numbers) {
    uint8_t header[FV_SESSION_HEADER];
    fv_session_numbers read;
    fv_status status;
    fv_session_header_put(numbers, 0, header);
    return !fv_session_header_get(header, &read, &status);
}

/* The stage whose file has a layer. */
static uint32_t stage_of(const fv_session_split *split, uint32_t layer) {
    uint32_t stage = 0;
    for (uint32_t end = split->layers[0]; layer >= end && stage + 1 < split->stages; end += split->layers[stage])
        stage++;
    return stage;
}

static bool is_elsewhere(const fv_session_image *image, uint32_t layer) {
    return image->split && stage_of(image->split, layer) != image->split->index;
}

/* What the layers have, and the memory for the head. */
static fv_status writer_make(session_writer *writer, fv_message *message) {
    const fv_session_image *image = writer->image;
    size_t entries = 0, largest = 0;
    writer->numbers = numbers_of(image);
    if (!numbers_fit(&writer->numbers))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "a session of %u tokens can't be saved: out of range",
                              (unsigned)writer->numbers.tokens);
    writer->segments = fv_session_segments(writer->numbers.tokens);
    writer->first = fv_array_new(writer->numbers.layers, sizeof *writer->first);
    if (!writer->first) return fv_message_set(message, FV_ERROR_MEMORY, "no memory to save with");
    for (uint32_t layer = 0; layer < writer->numbers.layers; layer++) {
        uint32_t first = writer->segments;
        size_t bytes = image->segment_bytes[layer];
        writer->first[layer] = first;
        if (is_elsewhere(image, layer)) continue;
        if (bytes == 0 || bytes % FV_SESSION_UNIT != 0 || bytes / FV_SESSION_UNIT > UINT32_MAX)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "segments of layer %u can't be saved", (unsigned)layer);
        while (first > 0 && image->segment(image->context, layer, first - 1)) first--;
        if (first == writer->segments)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "layer %u has not the last tokens", (unsigned)layer);
        writer->first[layer] = first;
        if (bytes > largest) largest = bytes;
        entries += writer->segments - first;
    }
    if (!fv_session_places_make(&writer->numbers, entries, &writer->places))
        return fv_message_set(message, FV_ERROR_OVERFLOW, "the session is too long to be saved");
    writer->head = fv_array_new(writer->places.bytes, 1);
    writer->packed = fv_array_new(largest, 1);
    writer->last = fv_pages_map(largest);
    writer->last_bytes = largest;
    if (!writer->head || !writer->packed || !writer->last)
        return fv_message_set(message, FV_ERROR_MEMORY, "no memory to save with");
    writer->numbers.head_bytes = writer->numbers.file_bytes = writer->places.bytes;
    writer->entry = writer->head + writer->places.table;
    return FV_OK;
}

static void fill_head(session_writer *writer) {
    const fv_session_info *info = writer->image->info;
    for (uint32_t layer = 0; layer < info->layers; layer++) {
        uint8_t *record = writer->head + FV_SESSION_HEADER + FV_SESSION_LAYER * (size_t)layer;
        bool elsewhere = is_elsewhere(writer->image, layer);
        size_t units = elsewhere ? 0 : writer->image->segment_bytes[layer] / FV_SESSION_UNIT;
        fv_le32_put(record, elsewhere ? stage_of(writer->image->split, layer) : writer->first[layer]);
        fv_le32_put(record + 4, (uint32_t)units);
    }
    for (uint32_t i = 0; i < info->tokens; i++)
        fv_le32_put(writer->head + writer->places.ids + 4 * (size_t)i, (uint32_t)writer->image->tokens[i]);
    uint8_t *texts = writer->head + writer->places.texts;
    if (info->model_name) memcpy(texts, info->model_name, writer->numbers.name_bytes);
    if (info->attention) memcpy(texts + writer->numbers.name_bytes, info->attention, writer->numbers.attention_bytes);
}

static bool write_padded(session_writer *writer, const uint8_t *bytes, size_t count) {
    static const uint8_t zeros[FV_SESSION_ALIGN];
    size_t padding = (FV_SESSION_ALIGN - count % FV_SESSION_ALIGN) % FV_SESSION_ALIGN;
    writer->numbers.file_bytes += count + padding;
    return fwrite(bytes, 1, count, writer->file) == count && fwrite(zeros, 1, padding, writer->file) == padding;
}

/* The last segment of a layer, without what was taken back. */
static const uint8_t *last_segment(session_writer *writer, uint32_t layer, const uint8_t *segment) {
    const fv_session_image *image = writer->image;
    if (!image->clear || writer->numbers.tokens % FV_SESSION_SEGMENT_TOKENS == 0) return segment;
    memcpy(writer->last, segment, image->segment_bytes[layer]);
    image->clear(image->context, layer, writer->segments - 1, writer->last);
    return writer->last;
}

/* The last one of a layer is packed if that saves anything. */
static bool write_segment(session_writer *writer, uint32_t layer, uint32_t index) {
    const uint8_t *segment = writer->image->segment(writer->image->context, layer, index);
    size_t bytes = writer->image->segment_bytes[layer];
    if (index + 1 == writer->segments) {
        segment = last_segment(writer, layer, segment);
        size_t packed_bytes = fv_session_packed_bytes(segment, bytes);
        if (packed_bytes < bytes) {
            fv_session_pack(segment, bytes, writer->packed);
            segment = writer->packed;
            bytes = packed_bytes;
        }
    }
    fv_le64_put(writer->entry, bytes);
    fv_le64_put(writer->entry + 8, fv_hash64(0, segment, bytes));
    writer->entry += FV_SESSION_ENTRY;
    return write_padded(writer, segment, bytes);
}

static bool write_all(session_writer *writer) {
    size_t head_bytes = writer->places.bytes;
    bool good = fwrite(writer->head, 1, head_bytes, writer->file) == head_bytes; /* zeros */
    for (uint32_t layer = 0; layer < writer->numbers.layers && good; layer++)
        for (uint32_t index = writer->first[layer]; index < writer->segments && good; index++)
            good = write_segment(writer, layer, index);
    if (!good || fseek(writer->file, 0, SEEK_SET) != 0) return false;
    fill_head(writer);
    uint64_t checksum = fv_hash64(0, writer->head + FV_SESSION_HEADER, head_bytes - FV_SESSION_HEADER);
    fv_session_header_put(&writer->numbers, checksum, writer->head);
    return fwrite(writer->head, 1, head_bytes, writer->file) == head_bytes;
}

fv_status fv_session_file_write(const fv_session_image *image, const char *path, fv_message *message) {
    session_writer writer = {.image = image};
    fv_replacement made = {.busy = false};
    fv_status status = writer_make(&writer, message);
    if (status == FV_OK) {
        status = fv_replacement_begin(&made, path, message);
        if (status != FV_OK && made.busy && image->busy) *image->busy = true;
    }
    if (status == FV_OK) {
        writer.file = made.file;
        if (made.file && image->others) status = image->others(image->others_context, message);
        bool good = status == FV_OK && made.file && write_all(&writer);
        fv_status ended = fv_replacement_end(&made, good, status == FV_OK ? message : NULL);
        if (status == FV_OK) status = ended;
    }
    free(writer.first);
    free(writer.head);
    free(writer.packed);
    fv_pages_unmap(writer.last, writer.last_bytes);
    return status;
}
