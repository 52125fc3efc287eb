/* index_journal.h - changes of an index that wait beside its file, docs/file-formats.md: a header that says of which
 * file, then a record for each call, durable before the call returns. A record that a killed process left half written
 * is no record; one that is damaged with others after it is an error. */
#ifndef FV_INDEX_JOURNAL_H
#define FV_INDEX_JOURNAL_H

#include "fovea/message.h"
#include "platform/append_file.h"

#define FV_JOURNAL_ENDING ".journal" /* after the name of the index */
#define FV_JOURNAL_PATH 4096
#define FV_JOURNAL_VERSION 1

enum { FV_JOURNAL_HEADER = 64, FV_JOURNAL_RECORD = 48 }; /* bytes; of a record before its arrays */

/* A call: vectors that come, labels that go. In a journal, and so in a file, all of it lies at multiples of 8 bytes. */
typedef struct fv_journal_call {
    size_t rows, gone;
    const uint64_t *labels;  /* [rows] */
    const uint64_t *removed; /* [gone] */
    const float *vectors;    /* [rows][dimension] */
} fv_journal_call;

/* ---- reading ---- */

typedef struct fv_journal_reader {
    const uint8_t *bytes;
    size_t count, at;  /* `at`: after the last whole record; 0: there is no header yet */
    uint64_t base;     /* checksum of the header of the file that it belongs to */
    uint64_t sequence; /* of the last record */
    uint32_t dimension;
    const char *name; /* for messages */
} fv_journal_reader;

/* Reads the header. No bytes, or fewer than a header has: an empty journal. FV_OK, FV_ERROR_CORRUPT,
 * FV_ERROR_UNSUPPORTED (a later version). */
fv_status fv_journal_begin(fv_journal_reader *reader, const uint8_t *bytes, size_t count, uint32_t dimension,
                           const char *name, fv_message *message);

/* The next record, which lies in the bytes; *is_there false: there is none. FV_OK, FV_ERROR_CORRUPT. */
fv_status fv_journal_next(fv_journal_reader *reader, fv_journal_call *call, bool *is_there, fv_message *message);

/* ---- writing ---- */

/* What is in a journal and not in the file. */
typedef struct fv_waiting {
    uint64_t calls, vectors, bytes; /* vectors: that came or went; bytes of the journal */
    uint64_t file_bytes;            /* of the file beside it */
} fv_waiting;

typedef struct fv_journal {
    fv_append_file file;
    char path[FV_JOURNAL_PATH]; /* of the journal */
    uint64_t base, sequence;
    uint32_t dimension;
    fv_waiting waiting; /* its owner's, who publishes it */
    uint64_t grace;     /* vectors that wait beyond what is usual: the file could not be written */
    bool is_unsealed;   /* records were added since it was opened */
} fv_journal;

/* The name of the journal of an index. False: it is too long. */
bool fv_journal_path(const char *index_path, char path[FV_JOURNAL_PATH]);

/* Makes it empty, of the file with that base. False: it can't be written. */
bool fv_journal_reset(fv_journal *journal, uint64_t base);

/* FV_OK: the call is durable. FV_ERROR_FILE (a full disk): it is not there; FV_ERROR_OVERFLOW. */
fv_status fv_journal_append(fv_journal *journal, const fv_journal_call *call, fv_message *message);

/* Marks the last record as followed by another, so that damage of it is told from a cut, and closes the file. */
void fv_journal_close(fv_journal *journal);

/* ---- whoever replaces the file of an index ---- */

/* Keeps others from changing the index at `path` while it is replaced. own: NULL, or the journal of that path.
 * *replaced: base of the journal that is given up, 0: there is none. FV_OK, FV_ERROR_FILE (somebody is changing it). */
fv_status fv_journal_claim(fv_journal *own, const char *path, fv_append_file *claim, uint64_t *replaced,
                           fv_message *message);

/* base: of the new file; 0: it was not replaced, and the journal stays. FV_OK, FV_ERROR_FILE: changes will be refused.
 */
fv_status fv_journal_release(fv_journal *own, const char *path, fv_append_file *claim, uint64_t base,
                             fv_message *message);

#endif
