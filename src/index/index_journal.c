/* index_journal.c - records of calls: written, read back, cut where a process ended. */
#include "index/index_journal.h"
#include "llm/hash64.h"
#include "numeric/size.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAGIC "fvjournl"        /* 8 bytes, of the header */
#define RECORD_MAGIC "fvrecord" /* of a record */

enum { AT_VERSION = 8, AT_HEADER_BYTES = 12, AT_BASE = 16, AT_DIMENSION = 24, AT_ZEROS = 28, AT_CHECKSUM = 56 };
enum { AT_SEQUENCE = 8, AT_ROWS = 16, AT_GONE = 24, AT_BODY_CHECKSUM = 32, AT_RECORD_CHECKSUM = 40 };

static const uint8_t zeros[8];

/* ---- the body of a record ---- */

/* False: more than memory has. */
static bool body_bytes(uint64_t rows, uint64_t gone, uint32_t dimension, size_t *bytes) {
    *bytes = 0;
    if (rows > SIZE_MAX || gone > SIZE_MAX) return false;
    return fv_size_add(bytes, (size_t)rows, sizeof(uint64_t), 8) &&
           fv_size_add(bytes, (size_t)gone, sizeof(uint64_t), 8) &&
           fv_size_add(bytes, (size_t)rows, dimension * sizeof(float), 8);
}

static size_t vector_bytes(const fv_journal_call *call, uint32_t dimension) {
    return call->rows * dimension * sizeof(float);
}

static uint64_t body_checksum(const fv_journal_call *call, uint32_t dimension) {
    size_t bytes = vector_bytes(call, dimension);
    uint64_t sum = fv_hash64(0, call->labels, call->rows * sizeof(uint64_t));
    sum = fv_hash64(sum, call->removed, call->gone * sizeof(uint64_t));
    return fv_hash64(fv_hash64(sum, call->vectors, bytes), zeros, -bytes % 8);
}

/* ---- reading ---- */

static fv_status damaged(const fv_journal_reader *reader, const char *what, fv_message *message) {
    return fv_message_set(message, FV_ERROR_CORRUPT,
                          "%s: is damaged: %s; remove it to do without all changes that wait in it", reader->name,
                          what);
}

fv_status fv_journal_begin(fv_journal_reader *reader, const uint8_t *bytes, size_t count, uint32_t dimension,
                           const char *name, fv_message *message) {
    *reader = (fv_journal_reader){.bytes = bytes, .count = count, .dimension = dimension, .name = name};
    if (count < FV_JOURNAL_HEADER) return FV_OK; /* killed while it was made: no call has returned */
    if (memcmp(bytes, MAGIC, 8) != 0)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: is no journal of an index", name);
    if (fv_le64_get(bytes + AT_CHECKSUM) != fv_hash64(0, bytes, AT_CHECKSUM))
        return damaged(reader, "its header", message);
    if (fv_le32_get(bytes + AT_VERSION) != FV_JOURNAL_VERSION)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "%s: is of version %" PRIu32 "; this program reads version %d", name,
                              fv_le32_get(bytes + AT_VERSION), FV_JOURNAL_VERSION);
    bool zero = fv_le32_get(bytes + AT_HEADER_BYTES) == FV_JOURNAL_HEADER;
    for (size_t i = AT_ZEROS; i < AT_CHECKSUM; i++) zero &= bytes[i] == 0;
    if (!zero || fv_le32_get(bytes + AT_DIMENSION) != dimension) return damaged(reader, "its header", message);
    reader->base = fv_le64_get(bytes + AT_BASE);
    reader->at = FV_JOURNAL_HEADER;
    return FV_OK;
}

/* Whether the head of a record begins there. */
static bool is_record(const fv_journal_reader *reader, size_t at) {
    const uint8_t *bytes = reader->bytes + at;
    return reader->count - at >= FV_JOURNAL_RECORD && memcmp(bytes, RECORD_MAGIC, 8) == 0 &&
           fv_le64_get(bytes + AT_RECORD_CHECKSUM) == fv_hash64(reader->base, bytes, AT_RECORD_CHECKSUM);
}

/* The last record of a process that was killed has nothing after it. */
static fv_status end_of(fv_journal_reader *reader, fv_message *message) {
    for (size_t at = reader->at + 8; at < reader->count; at += 8)
        if (is_record(reader, at) && fv_le64_get(reader->bytes + at + AT_SEQUENCE) > reader->sequence)
            return damaged(reader, "a change with others after it", message);
    reader->count = reader->at;
    return FV_OK;
}

fv_status fv_journal_next(fv_journal_reader *reader, fv_journal_call *call, bool *is_there, fv_message *message) {
    const uint8_t *bytes = reader->bytes + reader->at;
    size_t body = 0;
    *is_there = false;
    if (reader->at == reader->count || !reader->at) return FV_OK;
    if (!is_record(reader, reader->at)) return end_of(reader, message);
    uint64_t rows = fv_le64_get(bytes + AT_ROWS), gone = fv_le64_get(bytes + AT_GONE);
    if (fv_le64_get(bytes + AT_SEQUENCE) != reader->sequence + 1)
        return damaged(reader, "a change is missing", message);
    if (!body_bytes(rows, gone, reader->dimension, &body) || body > reader->count - reader->at - FV_JOURNAL_RECORD)
        return end_of(reader, message);
    const uint64_t *labels = (const uint64_t *)(const void *)(bytes + FV_JOURNAL_RECORD);
    *call = (fv_journal_call){(size_t)rows, (size_t)gone, labels, labels + rows,
                              (const float *)(const void *)(labels + rows + gone)};
    size_t rest = -vector_bytes(call, reader->dimension) % 8;
    bool good = memcmp(bytes + FV_JOURNAL_RECORD + body - rest, zeros, rest) == 0;
    if (!good || fv_le64_get(bytes + AT_BODY_CHECKSUM) != body_checksum(call, reader->dimension))
        return end_of(reader, message);
    reader->at += FV_JOURNAL_RECORD + body;
    reader->sequence++;
    *is_there = true;
    return FV_OK;
}

/* ---- writing ---- */

bool fv_journal_path(const char *index_path, char path[FV_JOURNAL_PATH]) {
    return snprintf(path, FV_JOURNAL_PATH, "%s" FV_JOURNAL_ENDING, index_path) < FV_JOURNAL_PATH;
}

bool fv_journal_reset(fv_journal *journal, uint64_t base) {
    uint8_t header[FV_JOURNAL_HEADER] = MAGIC;
    fv_le32_put(header + AT_VERSION, FV_JOURNAL_VERSION);
    fv_le32_put(header + AT_HEADER_BYTES, FV_JOURNAL_HEADER);
    fv_le64_put(header + AT_BASE, base);
    fv_le32_put(header + AT_DIMENSION, journal->dimension);
    fv_le64_put(header + AT_CHECKSUM, fv_hash64(0, header, AT_CHECKSUM));
    const void *parts[] = {header};
    const size_t bytes[] = {sizeof header};
    journal->base = base;
    journal->sequence = 0;
    journal->is_unsealed = false;
    if (fv_append_cut(&journal->file, 0) && fv_append_put(&journal->file, 1, parts, bytes)) return true;
    journal->file.is_broken = true;
    return false;
}

static bool put_record(fv_journal *journal, const fv_journal_call *call) {
    uint8_t head[FV_JOURNAL_RECORD] = RECORD_MAGIC;
    size_t vectors = vector_bytes(call, journal->dimension);
    fv_le64_put(head + AT_SEQUENCE, journal->sequence + 1);
    fv_le64_put(head + AT_ROWS, call->rows);
    fv_le64_put(head + AT_GONE, call->gone);
    fv_le64_put(head + AT_BODY_CHECKSUM, body_checksum(call, journal->dimension));
    fv_le64_put(head + AT_RECORD_CHECKSUM, fv_hash64(journal->base, head, AT_RECORD_CHECKSUM));
    const void *parts[] = {head, call->labels, call->removed, call->vectors, zeros};
    const size_t bytes[] = {sizeof head, call->rows * sizeof(uint64_t), call->gone * sizeof(uint64_t), vectors,
                            -vectors % 8};
    if (!fv_append_put(&journal->file, sizeof parts / sizeof parts[0], parts, bytes)) return false;
    journal->sequence++;
    return true;
}

fv_status fv_journal_append(fv_journal *journal, const fv_journal_call *call, fv_message *message) {
    size_t bytes;
    if (!body_bytes(call->rows, call->gone, journal->dimension, &bytes))
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%s: the change is larger than a file", journal->path);
    if (journal->file.is_broken)
        return fv_message_set(message, FV_ERROR_FILE, "%s: could not be written; close the index and open it again",
                              journal->path);
    if (!put_record(journal, call))
        return fv_message_set(message, FV_ERROR_FILE, "%s: can't be written: is the disk full? nothing was changed",
                              journal->path);
    journal->is_unsealed = true;
    return FV_OK;
}

void fv_journal_close(fv_journal *journal) {
    if (journal->is_unsealed && !journal->file.is_broken) put_record(journal, &(fv_journal_call){0});
    fv_append_close(&journal->file);
}

/* ---- whoever replaces the file of an index ---- */

fv_status fv_journal_claim(fv_journal *own, const char *path, fv_append_file *claim, uint64_t *replaced,
                           fv_message *message) {
    char name[FV_JOURNAL_PATH];
    uint8_t header[FV_JOURNAL_HEADER];
    *claim = (fv_append_file){.descriptor = -1};
    *replaced = own ? own->base : 0;
    if (own) return FV_OK;
    if (!fv_journal_path(path, name)) return FV_OK; /* one that long can't be there */
    fv_append_found found = fv_append_open(claim, name, false);
    if (found == FV_APPEND_BUSY)
        return fv_message_set(message, FV_ERROR_FILE, "%s: is being changed by another process", path);
    if (found == FV_APPEND_FAILED) return fv_message_set(message, FV_ERROR_FILE, "%s: can't be opened", name);
    if (found == FV_APPEND_OPEN && fv_append_head(claim, header, sizeof header))
        *replaced = fv_le64_get(header + AT_BASE);
    return FV_OK;
}

fv_status fv_journal_release(fv_journal *own, const char *path, fv_append_file *claim, uint64_t base,
                             fv_message *message) {
    char name[FV_JOURNAL_PATH];
    if (own && base && !fv_journal_reset(own, base))
        return fv_message_set(message, FV_ERROR_FILE,
                              "%s: can't be written; the index is saved: close it and open it again", own->path);
    if (claim->descriptor >= 0 && base && fv_journal_path(path, name)) remove(name);
    fv_append_close(claim);
    return FV_OK;
}
