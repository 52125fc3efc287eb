/* index_state.h - what an index is in memory. Arrays are its own, or lie in the file that is mapped; those are read
 * only, and the first change copies them (fv_index_own). */
#ifndef FV_INDEX_STATE_H
#define FV_INDEX_STATE_H

#include "fovea/index.h"
#include "gguf/file_map.h"
#include "index/calibration.h"
#include "index/index_journal.h"
#include "index/label_map.h"
#include "index/scan_kernels.h"
#include "index/sign_code.h"
#include "platform/turn_lock.h"

#define FV_INDEX_VERSION 3 /* of the file, the latest: see fv_index_version() */

typedef struct fv_index_arrays {
    float *vectors;   /* [rows], row_bytes apart: what kept_row.h says, and in a graph what index_graph.h says */
    uint8_t *blocks;  /* [rows / 32, rounded up][fv_index_block_bytes()] */
    uint8_t *fine;    /* [rows][fine_bytes]: codes that scans refine by; NULL: there are none */
    uint64_t *labels; /* [rows]; FV_INDEX_NO_LABEL: of a dead row, which walks pass and nobody finds */
} fv_index_arrays;

struct fv_index {
    fv_index_config config;
    const fv_scan_kernels *kernels;
    size_t rotated;              /* channels of a rotated vector */
    fv_turn_lock *lock;          /* readers read, and changes publish, under it */
    size_t rows, capacity, dead; /* dead ones are among the rows */
    size_t kept_bytes;           /* of a vector */
    size_t fine_bytes;           /* of a code to refine by; 0: there are none */
    size_t row_bytes;            /* from a vector to the next */
    uint32_t degree;             /* of the graph; 0: there is none */
    bool is_lean;                /* its rows hold no codes of neighbours */
    bool is_packed;              /* and their numbers in 24 bits each */
    uint32_t entry;              /* row that walks begin at */
    fv_calibration calibration;
    double reach;           /* square of the length that a graph gives all vectors of an inner product; 0: not known */
    float *centre;          /* [dimension], own */
    bool is_centred;        /* by the first vectors */
    fv_index_arrays arrays; /* own unless is_mapped */
    bool is_mapped;
    const uint8_t *bytes;  /* of the file, while is_mapped */
    fv_file_map map;       /* it; empty: the bytes are the caller's */
    fv_label_map by_label; /* of rows that are not dead, unless is_mapped */
    fv_journal *journal;   /* that changes go to; NULL: they are made in memory alone */
    fv_waiting waiting;    /* when it was opened; from then on the journal's */
};

static inline bool fv_index_is_dead(const fv_index *index, size_t row) {
    return index->arrays.labels[row] == FV_INDEX_NO_LABEL;
}

static inline size_t fv_index_live(const fv_index *index) { return index->rows - index->dead; }

/* A block: codes, then add, scale and error of 32 rows, f32. */
static inline size_t fv_index_block_bytes(const fv_index *index) {
    return fv_block_code_bytes(index->rotated) + 3 * FV_BLOCK_CODES * sizeof(float);
}

static inline size_t fv_index_blocks(size_t rows) { return (rows + FV_BLOCK_CODES - 1) / FV_BLOCK_CODES; }

static inline const float *fv_index_row(const fv_index *index, size_t row) {
    return (const float *)(const void *)((const uint8_t *)index->arrays.vectors + row * index->row_bytes);
}

/* A code that scans refine by: it, then f32 add, scale and error, as a block has them. */
static inline const uint8_t *fv_index_fine(const fv_index *index, size_t row) {
    return index->arrays.fine + row * index->fine_bytes;
}

/* An empty index with the kernels of this machine. FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_UNSUPPORTED, FV_ERROR_MEMORY. */
fv_status fv_index_begin(fv_index **index, const fv_index_config *config, fv_message *message);

/* Of its file: what was there before others is written as it was. */
uint32_t fv_index_version(const fv_index *index);

/* Drops the arrays, or the mapping that they lie in. */
void fv_index_free_arrays(fv_index *index);

/* What follows is for who has the change. */

/* Makes the arrays the index's own, with room for `rows`. FV_OK, FV_ERROR_CORRUPT (a file), FV_ERROR_MEMORY,
 * FV_ERROR_OVERFLOW. */
fv_status fv_index_own(fv_index *index, size_t rows, fv_message *message);

/* Arrays with room for `capacity` rows, at least one, all zeros. False: no memory. */
bool fv_index_arrays_make(const fv_index *index, size_t capacity, fv_index_arrays *arrays);
void fv_index_arrays_free(fv_index_arrays *arrays);

/* A copy of the arrays with room for `capacity`. False: no memory. */
bool fv_index_arrays_copy(const fv_index *index, size_t capacity, fv_index_arrays *arrays);

/* Of a copy that was changed, what may change; the rest is read without the lock. */
void fv_index_assign(fv_index *index, const fv_index *made);

/* Puts the index `made`, and a map of its labels, in the place of `index`, of which it was a copy but for its arrays,
 * and publishes it. FV_OK; FV_ERROR_MEMORY: nothing has changed, made's arrays are gone. */
fv_status fv_index_replace(fv_index *index, fv_index *made, fv_message *message);

/* Codes rows [first, end), whose vectors are there; the block of rows before and after `first` into `edge`, a copy of
 * it, if that is not NULL. Other blocks are cleared first. FV_OK, FV_ERROR_MEMORY. */
fv_status fv_index_code(fv_index *index, size_t first, size_t end, uint8_t *edge, const fv_parallel *parallel,
                        fv_message *message);

/* fv_index_check() of a file. */
fv_status fv_index_check_file(const fv_index *index, fv_message *message);

/* Looks at vectors [rows][dimension], of which no element may be larger than `most`: FV_OK, FV_ERROR_NOT_FINITE,
 * FV_ERROR_RANGE; `what` they are, for the message. */
fv_status fv_index_inspect(size_t rows, size_t dimension, const float *vectors, float most, const char *what,
                           fv_message *message);

/* out = x with length 1, or zeros. out may be x. */
void fv_index_normalise(size_t n, const float *x, float *out);

/* Sum of x * y in f64 in rising order. */
double fv_index_product(size_t n, const float *x, const float *y);

#endif
