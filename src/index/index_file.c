/* index_file.c - writes, maps and checks files of indexes. The header and the centre are checked when a file is opened;
 * the rest when somebody asks, or before it is changed or written again. */
#include "index/index_file.h"
#include "index/index_graph.h"
#include "numeric/size.h"
#include "platform/array.h"
#include "platform/replacement.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const section_names[] = {"centre", "labels", "codes", "vectors", "finer codes"};

static bool is_little_endian(void) {
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

size_t fv_index_section_count(const fv_index *index) {
    return index->fine_bytes ? FV_INDEX_SECTIONS : (size_t)FV_INDEX_FINE;
}

bool fv_index_sections_make(const fv_index *index, fv_index_sections *sections) {
    const size_t count[] = {1, index->rows, fv_index_blocks(index->rows), index->rows, index->rows};
    const size_t each[] = {index->config.dimension * sizeof(float), sizeof(uint64_t), fv_index_block_bytes(index),
                           index->row_bytes, index->fine_bytes};
    size_t total = FV_INDEX_HEADER;
    for (size_t i = 0; i < FV_INDEX_SECTIONS; i++) {
        sections->offset[i] = total;
        if (!fv_size_add(&total, count[i], each[i], FV_INDEX_ALIGN)) return false;
        sections->bytes[i] = count[i] * each[i];
    }
    sections->offset[FV_INDEX_SECTIONS] = total;
    return true;
}

static const uint8_t zeros[FV_INDEX_ALIGN];

static uint64_t section_checksum(const void *data, size_t bytes) {
    return fv_hash64(fv_hash64(0, data, bytes), zeros, -bytes % FV_INDEX_ALIGN);
}

static const void *section_data(const fv_index *index, size_t section) {
    const void *const all[] = {index->centre, index->arrays.labels, index->arrays.blocks, index->arrays.vectors,
                               index->arrays.fine};
    return all[section];
}

/* ---- writing ---- */

static void put_header(const fv_index *index, const fv_index_sections *sections, uint64_t replaced, uint8_t *header) {
    memset(header, 0, FV_INDEX_HEADER);
    memcpy(header, FV_INDEX_MAGIC, sizeof FV_INDEX_MAGIC);
    fv_le32_put(header + FV_INDEX_AT_VERSION, fv_index_version(index));
    fv_le32_put(header + FV_INDEX_AT_HEADER_BYTES, FV_INDEX_HEADER);
    fv_le64_put(header + FV_INDEX_AT_FILE_BYTES, sections->offset[FV_INDEX_SECTIONS]);
    fv_le64_put(header + FV_INDEX_AT_ROWS, index->rows);
    fv_le64_put(header + FV_INDEX_AT_SEED, index->config.seed);
    fv_le32_put(header + FV_INDEX_AT_DIMENSION, index->config.dimension);
    fv_le32_put(header + FV_INDEX_AT_METRIC, index->config.metric);
    fv_le32_put(header + FV_INDEX_AT_IS_CENTRED, index->is_centred);
    fv_le32_put(header + FV_INDEX_AT_DEGREE, index->degree);
    fv_le32_put(header + FV_INDEX_AT_ENTRY, index->entry);
    fv_le32_put(header + FV_INDEX_AT_ROW_TYPE, index->config.row_type);
    fv_le32_put(header + FV_INDEX_AT_LEAN, index->is_packed ? 2 : index->is_lean);
    fv_le32_put(header + FV_INDEX_AT_REFINE, index->config.refine_bits);
    fv_calibration_put(&index->calibration, header + FV_INDEX_AT_CALIBRATION);
    fv_le64_put(header + FV_INDEX_AT_DEAD, index->dead);
    fv_le64_put(header + FV_INDEX_AT_REPLACED, replaced);
    for (size_t i = 0; i < fv_index_section_count(index); i++)
        fv_le64_put(header + FV_INDEX_AT_CHECKSUMS + 8 * i,
                    section_checksum(section_data(index, i), sections->bytes[i]));
    fv_le64_put(header + FV_INDEX_AT_CHECKSUM, fv_hash64(0, header, FV_INDEX_AT_CHECKSUM));
}

static bool write_all(const fv_index *index, const fv_index_sections *sections, const uint8_t *header, FILE *file) {
    bool good = fwrite(header, 1, FV_INDEX_HEADER, file) == FV_INDEX_HEADER;
    for (size_t i = 0; good && i < FV_INDEX_SECTIONS; i++) {
        size_t bytes = sections->bytes[i], rest = -bytes % FV_INDEX_ALIGN;
        good = !bytes || fwrite(section_data(index, i), 1, bytes, file) == bytes;
        good = good && fwrite(zeros, 1, rest, file) == rest;
    }
    return good;
}

/* *base: of the new file. */
static fv_status write_file(const fv_index *index, const char *path, uint64_t replaced, uint64_t *base,
                            fv_message *message) {
    fv_index_sections sections;
    fv_replacement replacement;
    uint8_t header[FV_INDEX_HEADER];
    if (!fv_index_sections_make(index, &sections))
        return fv_message_set(message, FV_ERROR_OVERFLOW, "%s: the index is larger than a file", path);
    fv_status status = fv_replacement_begin(&replacement, path, message);
    if (status != FV_OK) return status;
    put_header(index, &sections, replaced, header);
    bool good = replacement.file && write_all(index, &sections, header, replacement.file);
    status = fv_replacement_end(&replacement, good, message);
    if (status == FV_OK) *base = fv_le64_get(header + FV_INDEX_AT_CHECKSUM);
    return status;
}

/* The journal that lies beside the old file belongs to no other: it is emptied after the new file is there, which says
 * meanwhile that it has what waited in it. */
fv_status fv_index_write(const fv_index *index, const char *path, fv_message *message) {
    fv_append_file claim;
    fv_journal *own = NULL;
    char name[FV_JOURNAL_PATH];
    uint64_t replaced, base = 0;
    if (!is_little_endian())
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: this processor is big-endian", path);
    if (index->journal && fv_journal_path(path, name) && strcmp(name, index->journal->path) == 0) own = index->journal;
    fv_status status = fv_index_check_file(index, message); /* what is damaged gets no new checksums */
    if (status == FV_OK) status = fv_journal_claim(own, path, &claim, &replaced, message);
    if (status != FV_OK) return status;
    status = write_file(index, path, replaced, &base, message);
    fv_status released = fv_journal_release(own, path, &claim, base, status == FV_OK ? message : NULL);
    fv_index_sections sections;
    if (own && base && fv_index_sections_make(index, &sections)) {
        fv_turn_publish_begin(index->lock);
        own->waiting = (fv_waiting){.file_bytes = sections.offset[FV_INDEX_SECTIONS]};
        fv_turn_publish_end(index->lock);
    }
    return status == FV_OK ? released : status;
}

fv_status fv_index_save(const fv_index *index, const char *path, fv_message *message) {
    if (!index || !path) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_turn_change_begin(index->lock);
    fv_status status = fv_index_write(index, path, message);
    fv_turn_change_end(index->lock);
    return status;
}

/* ---- reading ---- */

static fv_status damaged(const char *name, const char *what, fv_message *message) {
    return fv_message_set(message, FV_ERROR_CORRUPT, "%s: is damaged: %s; build the index again", name, what);
}

static fv_status check_header(const uint8_t *bytes, size_t count, const char *name, fv_message *message) {
    if (count < FV_INDEX_HEADER || memcmp(bytes, FV_INDEX_MAGIC, sizeof FV_INDEX_MAGIC) != 0)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: is no index", name);
    uint32_t version = fv_le32_get(bytes + FV_INDEX_AT_VERSION);
    if (fv_le64_get(bytes + FV_INDEX_AT_CHECKSUM) != fv_hash64(0, bytes, FV_INDEX_AT_CHECKSUM))
        return damaged(name, "its header", message);
    if (version < 1 || version > FV_INDEX_VERSION)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "%s: is of version %" PRIu32 "; this program reads versions 1 to %d", name, version,
                              FV_INDEX_VERSION);
    if (!is_little_endian())
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s: this processor is big-endian", name);
    bool zero = fv_le32_get(bytes + FV_INDEX_AT_HEADER_BYTES) == FV_INDEX_HEADER;
    zero &= version > 1 || (fv_le64_get(bytes + FV_INDEX_AT_ROW_TYPE) | fv_le32_get(bytes + FV_INDEX_AT_REFINE)) == 0;
    zero &=
        fv_le32_get(bytes + FV_INDEX_AT_REFINE) || fv_le64_get(bytes + FV_INDEX_AT_CHECKSUMS + 8 * FV_INDEX_FINE) == 0;
    for (size_t i = FV_INDEX_AT_ZEROS; i < FV_INDEX_AT_REPLACED; i++) zero &= bytes[i] == 0;
    for (size_t i = FV_INDEX_AT_CHECKSUMS + 8 * FV_INDEX_SECTIONS; i < FV_INDEX_AT_CHECKSUM; i++) zero &= bytes[i] == 0;
    if (!zero) return damaged(name, "its header", message);
    if (fv_le64_get(bytes + FV_INDEX_AT_FILE_BYTES) != count)
        return fv_message_set(message, FV_ERROR_CORRUPT, "%s: has %zu bytes of %" PRIu64 "; copy it again", name, count,
                              fv_le64_get(bytes + FV_INDEX_AT_FILE_BYTES));
    return FV_OK;
}

/* The index that the header speaks of, without its arrays. */
static fv_status begin(fv_index **index, const uint8_t *bytes, const char *name, fv_message *message) {
    fv_index_config config;
    uint64_t rows = fv_le64_get(bytes + FV_INDEX_AT_ROWS), dead = fv_le64_get(bytes + FV_INDEX_AT_DEAD);
    uint32_t is_centred = fv_le32_get(bytes + FV_INDEX_AT_IS_CENTRED), lean = fv_le32_get(bytes + FV_INDEX_AT_LEAN);
    uint32_t degree = fv_le32_get(bytes + FV_INDEX_AT_DEGREE), entry = fv_le32_get(bytes + FV_INDEX_AT_ENTRY);
    fv_index_config_default(fv_le32_get(bytes + FV_INDEX_AT_DIMENSION), fv_le32_get(bytes + FV_INDEX_AT_METRIC),
                            &config);
    config.seed = fv_le64_get(bytes + FV_INDEX_AT_SEED);
    config.row_type = fv_le32_get(bytes + FV_INDEX_AT_ROW_TYPE);
    config.refine_bits = fv_le32_get(bytes + FV_INDEX_AT_REFINE);
    if (config.dimension < 1 || config.dimension > FV_INDEX_DIMENSIONS || config.metric > FV_INDEX_COSINE ||
        !fv_row_type_is(config.row_type) || !fv_refine_bits_are(&config) || rows >= FV_INDEX_ROWS || is_centred > 1 ||
        (rows && !is_centred) || degree > 256 || degree % FV_BLOCK_CODES || (entry && entry >= rows) || dead > rows ||
        lean > (fv_le32_get(bytes + FV_INDEX_AT_VERSION) > 2 ? 2 : 1) || (lean && !degree))
        return damaged(name, "numbers of its header", message);
    fv_status status = fv_index_begin(index, &config, message);
    if (status != FV_OK) return status;
    (*index)->rows = (*index)->capacity = (size_t)rows;
    (*index)->is_centred = is_centred;
    (*index)->degree = degree;
    (*index)->is_lean = lean > 0;
    (*index)->is_packed = lean == 2;
    (*index)->entry = entry;
    (*index)->dead = (size_t)dead;
    (*index)->row_bytes = fv_graph_row_bytes(*index, degree);
    (*index)->is_mapped = true;
    if (fv_calibration_get(bytes + FV_INDEX_AT_CALIBRATION, &(*index)->calibration)) return FV_OK;
    return damaged(name, "what was measured of it", message);
}

/* Arrays into the bytes; the centre is checked and copied. */
static fv_status place_arrays(fv_index *index, const uint8_t *bytes, size_t count, const char *name,
                              fv_message *message) {
    fv_index_sections at;
    if (!fv_index_sections_make(index, &at) || at.offset[FV_INDEX_SECTIONS] != count)
        return damaged(name, "numbers of its header", message);
    memcpy(index->centre, bytes + at.offset[FV_INDEX_CENTRE], at.bytes[FV_INDEX_CENTRE]);
    bool finite = true;
    for (size_t i = 0; i < index->config.dimension; i++) finite &= fabsf(index->centre[i]) <= FV_INDEX_LARGEST;
    uint64_t checksum = fv_hash64(fv_hash64(0, bytes + at.offset[0], at.bytes[0]), bytes + at.offset[0] + at.bytes[0],
                                  at.offset[1] - at.offset[0] - at.bytes[0]);
    if (checksum != fv_le64_get(bytes + FV_INDEX_AT_CHECKSUMS) || !finite)
        return damaged(name, section_names[FV_INDEX_CENTRE], message);
    uint8_t *own = (uint8_t *)(uintptr_t)bytes; /* read only, all the same: is_mapped says so */
    index->arrays =
        (fv_index_arrays){(float *)(void *)(own + at.offset[FV_INDEX_VECTORS]), own + at.offset[FV_INDEX_BLOCKS],
                          index->fine_bytes ? own + at.offset[FV_INDEX_FINE] : NULL,
                          (uint64_t *)(void *)(own + at.offset[FV_INDEX_LABELS])};
    index->bytes = bytes;
    return FV_OK;
}

fv_status fv_index_open_memory(fv_index **index, const uint8_t *bytes, size_t count, const char *name,
                               fv_message *message) {
    fv_index *made = NULL;
    fv_status status = check_header(bytes, count, name, message);
    if (status == FV_OK) status = begin(&made, bytes, name, message);
    if (status == FV_OK) status = place_arrays(made, bytes, count, name, message);
    if (status == FV_OK) {
        *index = made;
        return FV_OK;
    }
    if (made) made->rows = 0;
    fv_index_close(made);
    return status;
}

/* ---- checking ---- */

/* One label twice, or other numbers of dead rows than the header says. */
static fv_status check_labels(const fv_index *index, const char *name, fv_message *message) {
    const uint64_t *labels = index->arrays.labels;
    fv_label_map map = {0};
    if (!fv_label_map_reserve(&map, labels, index->rows))
        return fv_message_set(message, FV_ERROR_MEMORY, "%s: no memory for its labels", name);
    bool good = true;
    size_t dead = 0;
    for (size_t row = 0; good && row < index->rows; row++) {
        bool is_dead = fv_index_is_dead(index, row);
        dead += is_dead;
        good = is_dead || fv_label_map_find(&map, labels, labels[row]) == FV_NO_ROW;
        if (good && !is_dead) fv_label_map_put(&map, labels, (uint32_t)row);
    }
    fv_label_map_free(&map);
    if (good && dead != index->dead) return damaged(name, "how many vectors were removed", message);
    return good ? FV_OK : damaged(name, "a label that is there twice", message);
}

fv_status fv_index_check_file(const fv_index *index, fv_message *message) {
    fv_index_sections at;
    if (!index->is_mapped) return FV_OK;
    const char *name = index->map.bytes ? fv_file_map_path(&index->map) : "the index";
    if (!fv_index_sections_make(index, &at)) return damaged(name, "numbers of its header", message);
    for (size_t i = 0; i < fv_index_section_count(index); i++) {
        const uint8_t *from = index->bytes + at.offset[i], *end = from + at.bytes[i];
        uint64_t checksum =
            fv_hash64(fv_hash64(0, from, at.bytes[i]), end, at.offset[i + 1] - at.offset[i] - at.bytes[i]);
        if (checksum != fv_le64_get(index->bytes + FV_INDEX_AT_CHECKSUMS + 8 * i))
            return damaged(name, section_names[i], message);
    }
    for (size_t row = 0; row < index->rows; row++)
        if (!fv_kept_is_sound(index, row)) return damaged(name, "a vector that is not finite", message);
    return check_labels(index, name, message);
}

fv_status fv_index_check(const fv_index *index, fv_message *message) {
    if (!index) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    fv_turn_change_begin(index->lock); /* reading a file takes long: no reader waits for it */
    fv_status status = fv_index_check_file(index, message);
    fv_turn_change_end(index->lock);
    return status;
}
