/* index_open.c - an index from its file and the journal beside it. Both are read until they are known to be of one
 * moment: whoever takes changes into the file puts the new file in its place first, and empties the journal then. */
#include "index/index_file.h"
#include "index/index_journal.h"
#include "index/kept_row.h"
#include "index/row_change.h"
#include "platform/array.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 16 };

/* ---- the file ---- */

static fv_status map_file(fv_index **index, const char *path, fv_message *message) {
    fv_file_map map = {0};
    fv_status status = fv_file_map_open(&map, path, message);
    if (status != FV_OK) return status;
    status = fv_index_open_memory(index, map.bytes, map.count, path, message);
    if (status != FV_OK) {
        fv_file_map_close(&map);
        return status;
    }
    (*index)->map = map;
    (*index)->waiting.file_bytes = map.count;
    return FV_OK;
}

static uint64_t base_of(const fv_index *index) { return fv_le64_get(index->bytes + FV_INDEX_AT_CHECKSUM); }
static uint64_t replaced_by(const fv_index *index) { return fv_le64_get(index->bytes + FV_INDEX_AT_REPLACED); }

/* Whether the file of that name is still the one that was mapped. */
static bool is_current(const fv_index *index, const char *path) {
    uint8_t header[FV_INDEX_HEADER];
    FILE *file = fopen(path, "rb");
    if (!file) return true; /* removed: what is mapped is the last there was */
    bool good = fread(header, 1, sizeof header, file) == sizeof header;
    fclose(file);
    return good && memcmp(header, index->bytes, sizeof header) == 0;
}

/* ---- the journal ---- */

/* Makes the changes of all whole records. */
static fv_status replay(fv_index *index, fv_journal_reader *reader, const fv_parallel *parallel, fv_message *message) {
    fv_message why = {""};
    fv_journal_call call;
    bool is_there = true;
    fv_status status = FV_OK;
    while (status == FV_OK && is_there) {
        status = fv_journal_next(reader, &call, &is_there, message);
        if (status != FV_OK || !is_there || !(call.rows + call.gone)) continue;
        fv_row_change change = {call.rows, call.vectors, call.labels, call.gone, call.removed, parallel};
        status =
            fv_index_inspect(call.rows, index->config.dimension, call.vectors, fv_kept_largest(index), "vector", &why);
        if (status == FV_OK) status = fv_index_apply(index, &change, &why);
        bool is_misfit = status == FV_ERROR_ARGUMENT || status == FV_ERROR_RANGE || status == FV_ERROR_NOT_FINITE;
        if (is_misfit)
            status = fv_message_set(message, FV_ERROR_CORRUPT, "%s: is damaged: its change %" PRIu64 ": %s",
                                    reader->name, reader->sequence, why.text);
        else if (status != FV_OK)
            fv_message_set(message, status, "%s", why.text);
        index->waiting.calls++;
        index->waiting.vectors += call.rows + call.gone;
    }
    index->waiting.bytes = index->waiting.calls ? reader->at : 0;
    return status;
}

/* What the journal has for this file. *is_stale: its changes are in the file. *is_other: it is of another moment, or
 * of another file. */
static fv_status take_journal(fv_index *index, fv_journal_reader *reader, const fv_parallel *parallel, bool *is_stale,
                              bool *is_other, fv_message *message) {
    *is_stale = !reader->at || (reader->base == replaced_by(index) && reader->base != base_of(index));
    *is_other = !*is_stale && reader->base != base_of(index);
    if (*is_stale) return FV_OK;
    if (*is_other)
        return fv_message_set(
            message, FV_ERROR_CORRUPT,
            "%s: belongs to another index than the one beside it; remove it to do without the changes "
            "that wait in it",
            reader->name);
    return replay(index, reader, parallel, message);
}

/* File and journal as they are now; the journal as far as it was read. */
static fv_status open_both(fv_index **index, const char *path, const char *journal_path, const fv_parallel *parallel,
                           fv_journal_reader *reader, bool *is_stale, bool *is_torn, fv_message *message) {
    uint8_t *bytes = NULL;
    size_t count = 0;
    bool is_other = false;
    fv_index *made = NULL;
    *is_torn = false;
    fv_status status = map_file(&made, path, message);
    if (status != FV_OK) return status;
    status = fv_append_read(journal_path, &bytes, &count, message);
    *is_torn = status == FV_OK && !is_current(made, path);
    if (status == FV_OK && !*is_torn)
        status = fv_journal_begin(reader, bytes, count, made->config.dimension, journal_path, message);
    if (status == FV_OK && !*is_torn) status = take_journal(made, reader, parallel, is_stale, &is_other, message);
    *is_torn |= status == FV_ERROR_CORRUPT; /* perhaps it was being written */
    free(bytes);
    if (status == FV_OK && !*is_torn)
        *index = made;
    else
        fv_index_close(made);
    return status;
}

static fv_status open_steady(fv_index **index, const char *path, const char *journal_path, const fv_parallel *parallel,
                             fv_journal_reader *reader, bool *is_stale, fv_message *message) {
    bool is_torn = true;
    fv_status status = FV_OK;
    int corrupt = 0;
    for (int i = 0; i < TRIES && is_torn && corrupt < 3; i++) {
        status = open_both(index, path, journal_path, parallel, reader, is_stale, &is_torn, message);
        corrupt += status == FV_ERROR_CORRUPT;
    }
    if (status == FV_OK && is_torn)
        return fv_message_set(message, FV_ERROR_FILE, "%s: is replaced again and again; try once more", path);
    return status;
}

/* ---- the calls ---- */

static fv_status check_paths(fv_index **index, const char *path, char journal_path[FV_JOURNAL_PATH],
                             fv_message *message) {
    if (!index || !path) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL");
    if (!fv_journal_path(path, journal_path))
        return fv_message_set(message, FV_ERROR_FILE, "%s: the name is too long", path);
    return FV_OK;
}

fv_status fv_index_open(fv_index **index, const char *path, fv_message *message) {
    char journal_path[FV_JOURNAL_PATH];
    fv_journal_reader reader;
    bool is_stale;
    fv_status status = check_paths(index, path, journal_path, message);
    return status == FV_OK ? open_steady(index, path, journal_path, NULL, &reader, &is_stale, message) : status;
}

static fv_status lock_journal(fv_journal *journal, const char *path, fv_message *message) {
    fv_append_found found = fv_append_open(&journal->file, journal->path, true);
    if (found == FV_APPEND_BUSY)
        return fv_message_set(message, FV_ERROR_FILE, "%s: is being changed by another process", path);
    return found == FV_APPEND_OPEN ? FV_OK
                                   : fv_message_set(message, FV_ERROR_FILE, "%s: can't be opened", journal->path);
}

/* Nobody else writes either file from here on. */
static fv_status open_locked(fv_index **index, fv_journal *journal, const char *path, const fv_parallel *parallel,
                             fv_message *message) {
    fv_journal_reader reader;
    bool is_stale = false;
    fv_index *made = NULL;
    fv_status status = open_steady(&made, path, journal->path, parallel, &reader, &is_stale, message);
    if (status != FV_OK) return status;
    journal->dimension = made->config.dimension;
    journal->base = reader.base;
    journal->sequence = reader.sequence;
    bool good = is_stale ? fv_journal_reset(journal, base_of(made)) : true;
    if (!is_stale && reader.at < journal->file.end) good = fv_append_cut(&journal->file, reader.at);
    if (!good) {
        fv_index_close(made);
        return fv_message_set(message, FV_ERROR_FILE, "%s: can't be written", journal->path);
    }
    journal->waiting = made->waiting;
    made->journal = journal;
    *index = made;
    return FV_OK;
}

fv_status fv_index_open_journal(fv_index **index, const char *path, const fv_parallel *parallel, fv_message *message) {
    fv_index *first = NULL;
    fv_journal *journal = fv_array_new(1, sizeof *journal);
    if (!journal) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for a journal");
    fv_status status = check_paths(index, path, journal->path, message);
    if (status == FV_OK) status = map_file(&first, path, message); /* no journal where there is no index */
    fv_index_close(first);
    if (status == FV_OK) status = lock_journal(journal, path, message);
    if (status == FV_OK) {
        status = open_locked(index, journal, path, parallel, message);
        if (status == FV_OK) return FV_OK;
        fv_append_close(&journal->file);
    }
    free(journal);
    return status;
}
