/* kld_file.c - layout: "_logits_", context, vocabulary, chunks (32 bits each), the tokens, then the rows: f32 scale,
 * f32 smallest log-probability, a 16-bit number for each token and one more if the vocabulary is odd. Little-endian. */
#include "fovea/measure/kld_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 20u
#define IMPOSSIBLE (-16.0f)

struct fv_kld_file {
    FILE *file;
    char *path;
    uint32_t context, vocabulary, chunks;
    int32_t *tokens; /* [chunks][context] */
    uint16_t *row;   /* one row as it lies in the file */
};

static size_t row_rooms(uint32_t vocabulary) { return 2 * (((size_t)vocabulary + 1) / 2) + 4; }

static size_t chunk_rows(uint32_t context) { return context - 1 - context / 2; }

static uint32_t little_u32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static float little_f32(const unsigned char *bytes) {
    uint32_t bits = little_u32(bytes);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t row_offset(const fv_kld_file *base, uint64_t row) {
    return HEADER_BYTES + (uint64_t)base->chunks * base->context * 4 + row * row_rooms(base->vocabulary) * 2;
}

static fv_status read_header(fv_kld_file *base, fv_message *message) {
    unsigned char header[HEADER_BYTES];
    if (fread(header, 1, sizeof header, base->file) != sizeof header || memcmp(header, "_logits_", 8) != 0)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: not a file of llama-perplexity's --save-all-logits",
                              base->path);
    base->context = little_u32(header + 8);
    base->vocabulary = little_u32(header + 12);
    base->chunks = little_u32(header + 16);
    if (base->context < 4 || base->context > 1u << 26 || base->vocabulary < 1 || base->vocabulary > 1u << 26 ||
        base->chunks < 1 || base->chunks > 1u << 26)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: %u chunks of %u tokens with a vocabulary of %u can't be",
                              base->path, base->chunks, base->context, base->vocabulary);
    return FV_OK;
}

/* The sizes are bounded above: their product fits into 64 bits. */
static fv_status check_length(const fv_kld_file *base, fv_message *message) {
    uint64_t wanted = row_offset(base, (uint64_t)base->chunks * chunk_rows(base->context));
    if (fseeko(base->file, 0, SEEK_END) != 0)
        return fv_message_set(message, FV_ERROR_FILE, "%s: its length can't be found", base->path);
    off_t length = ftello(base->file);
    if (length < 0 || (uint64_t)length < wanted)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: cut short, %lld bytes of %llu", base->path,
                              (long long)length, (unsigned long long)wanted);
    return FV_OK;
}

static fv_status read_tokens(fv_kld_file *base, fv_message *message) {
    size_t count = (size_t)base->chunks * base->context;
    base->tokens = malloc(count * sizeof *base->tokens);
    base->row = malloc(row_rooms(base->vocabulary) * sizeof *base->row);
    if (!base->tokens || !base->row)
        return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory for %zu tokens", base->path, count);
    if (fseeko(base->file, HEADER_BYTES, SEEK_SET) != 0 || fread(base->tokens, 4, count, base->file) != count)
        return fv_message_set(message, FV_ERROR_FILE, "%s: its tokens can't be read", base->path);
    for (size_t i = 0; i < count; i++) {
        base->tokens[i] = (int32_t)little_u32((const unsigned char *)&base->tokens[i]);
        if (base->tokens[i] < 0 || (uint32_t)base->tokens[i] >= base->vocabulary)
            return fv_message_set(message, FV_ERROR_CORRUPT, "%s: token %zu has the id %d, the vocabulary %u",
                                  base->path, i, base->tokens[i], base->vocabulary);
    }
    return FV_OK;
}

static fv_status open_and_check(fv_kld_file *base, const char *path, fv_message *message) {
    base->path = strdup(path);
    if (!base->path) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory", path);
    base->file = fopen(path, "rb");
    if (!base->file) return fv_message_set(message, FV_ERROR_FILE, "%s: can't be opened", path);
    fv_status status = read_header(base, message);
    if (status == FV_OK) status = check_length(base, message);
    return status == FV_OK ? read_tokens(base, message) : status;
}

fv_status fv_kld_file_open(fv_kld_file **file, const char *path, fv_message *message) {
    fv_kld_file *base = calloc(1, sizeof *base);
    if (!base) return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory", path);
    fv_status status = open_and_check(base, path, message);
    if (status == FV_OK)
        *file = base;
    else
        fv_kld_file_close(base);
    return status;
}

void fv_kld_file_close(fv_kld_file *base) {
    if (!base) return;
    if (base->file) fclose(base->file);
    free(base->path);
    free(base->tokens);
    free(base->row);
    free(base);
}

uint32_t fv_kld_file_context(const fv_kld_file *base) { return base->context; }
uint32_t fv_kld_file_vocabulary(const fv_kld_file *base) { return base->vocabulary; }
uint32_t fv_kld_file_chunks(const fv_kld_file *base) { return base->chunks; }
const int32_t *fv_kld_file_tokens(const fv_kld_file *base) { return base->tokens; }

fv_status fv_kld_file_read(fv_kld_file *base, size_t chunk, size_t first, size_t rows, float *log_probabilities,
                           fv_message *message) {
    size_t most = chunk_rows(base->context);
    if (chunk >= base->chunks || first > most || rows > most - first)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: chunk %zu has no rows %zu to %zu", base->path, chunk,
                              first, first + rows);
    uint64_t row = (uint64_t)chunk * most + first;
    size_t rooms = row_rooms(base->vocabulary);
    if (fseeko(base->file, (off_t)row_offset(base, row), SEEK_SET) != 0)
        return fv_message_set(message, FV_ERROR_FILE, "%s: row %llu can't be found", base->path,
                              (unsigned long long)row);
    for (size_t r = 0; r < rows; r++, log_probabilities += base->vocabulary) {
        if (fread(base->row, 2, rooms, base->file) != rooms)
            return fv_message_set(message, FV_ERROR_FILE, "%s: row %llu can't be read", base->path,
                                  (unsigned long long)(row + r));
        const unsigned char *bytes = (const unsigned char *)base->row;
        float scale = little_f32(bytes), least = little_f32(bytes + 4);
        if (!(scale >= 0 && scale < 1 && least >= -1e6f && least <= 0))
            return fv_message_set(message, FV_ERROR_CORRUPT, "%s: row %llu has no valid scale", base->path,
                                  (unsigned long long)(row + r));
        for (size_t i = 0; i < base->vocabulary; i++) {
            float value = scale * (float)(bytes[8 + 2 * i] | bytes[9 + 2 * i] << 8) + least;
            log_probabilities[i] = value > IMPOSSIBLE ? value : -1e30f;
        }
    }
    return FV_OK;
}
