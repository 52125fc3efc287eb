/* index.h - nearest neighbours among vectors: built from rows of f32, kept as such or in fewer bits, searched for the k
 * nearest or for all within a distance, kept in one file. Hosted. How structs may change: docs/abi.md.
 *
 * A flat index holds each vector as it came and, in one bit a channel, a code of it with a bound on its error (RaBitQ,
 * Gao & Long, SIGMOD 2024). A search scans the codes, 32 at a time, and computes exactly only those rows whose bound
 * allows them to be among the results. So results are exact, but for rows whose bound is wrong: `confidence` says how
 * rarely that is.
 *
 * Distances are f32 and the smaller the nearer: L2 squared; inner product and cosine as 1 - product. Results are the
 * same bits for any number of threads and on every processor; and whatever queries come together, but for a search with
 * a `recall` and a filter, for which a list that many queries share may be worth its making. */
#ifndef FOVEA_INDEX_H
#define FOVEA_INDEX_H

#include "fovea/api.h"
#include "fovea/message.h"
#include "fovea/parallel.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_INDEX_DIMENSIONS 65535         /* of a vector, at most */
#define FV_INDEX_LARGEST 1e15f            /* magnitude of an element, at most */
#define FV_INDEX_NO_LABEL UINT64_MAX      /* of a result that is none; no vector may have it */
#define FV_INDEX_BEAM 65536               /* at most */
#define FV_INDEX_CONFIDENCE 3.0f          /* the default */
#define FV_INDEX_ROWS ((uint64_t)1 << 32) /* of an index, less than */

/** What near means. Values are pinned. */
typedef enum fv_index_metric {
    FV_INDEX_L2 = 0,    /* sum of (x - q)^2 */
    FV_INDEX_IP = 1,    /* 1 - sum of x * q; vectors of any length */
    FV_INDEX_COSINE = 2 /* 1 - cosine of the angle; vectors are kept with length 1, zeros as they are */
} fv_index_metric;

/** What vectors are kept as; distances are those from what is kept. Values are pinned; 2 to 8 are so many bits. */
typedef enum fv_index_row_type {
    FV_INDEX_F32 = 0,
    FV_INDEX_Q4 = 4, /* a code of 4 bits a channel of the rotated vector less the centre, and up to 12 bytes ... */
    FV_INDEX_Q8 =
        8, /* ... of 8 bits; and so of 2, 3, 5, 6, 7. Of dimensions that are no multiple of 64 as of the next */
    FV_INDEX_F16 = 16, /* elements up to 65,504; cosine: any */
    FV_INDEX_BF16 = 17
} fv_index_row_type;

/** What an index is. Start from fv_index_config_default(). */
typedef struct fv_index_config {
    uint64_t seed;      /* of the rotation before vectors are coded; default 0 */
    uint32_t dimension; /* elements of a vector, 1..FV_INDEX_DIMENSIONS */
    uint32_t metric;    /* fv_index_metric */
    uint32_t isa_limit; /* fv_isa; default FV_ISA_BEST. Results do not depend on it */
    uint32_t row_type;  /* fv_index_row_type; default FV_INDEX_F32 */
    uint32_t
        refine_bits; /* 0 (default), or 2 to 8: a second code of so many bits a channel for each vector, which scans
                        read of what the first lets pass: fewer vectors are computed. Not for rows of codes */
    uint32_t reserved[9]; /* 0, or it is refused: where new fields go */
} fv_index_config;

FV_API void fv_index_config_default(uint32_t dimension, uint32_t metric, fv_index_config *config);

/** An index. Any number of threads may search one, and ask it anything else that takes a const fv_index, while others
 * change it. A search sees the index before a change or after it, never a part of the change; a change that has
 * returned is seen by all searches that begin afterwards. Changes are made one after another, whoever calls; searches
 * wait only while one becomes visible: for what it copies into rows that are in use, not for its walks and codes. Not
 * from a filter: what a filter asks of the index that is being searched may wait for ever. */
typedef struct fv_index fv_index;

/**
 * Makes an empty index.
 *
 * index    out; untouched on error. Close with fv_index_close().
 * message  may be NULL here and below; filled on error.
 * returns  FV_OK, FV_ERROR_ARGUMENT (a field of config), FV_ERROR_UNSUPPORTED (FV_ISA in the environment),
 *          FV_ERROR_MEMORY.
 */
FV_API fv_status fv_index_make(fv_index **index, const fv_index_config *config, fv_message *message);
FV_API void fv_index_close(fv_index *index); /* NULL is allowed */

/**
 * Adds vectors. The first ones decide the centre that all are coded about: add a good sample of them at first.
 *
 * vectors    [rows][dimension] f32, copied.
 * dimension  of these vectors: that of the index.
 * labels     [rows], each one new; NULL: the numbers of the rows, counted from the vectors that the index has.
 * parallel   NULL: the calling thread.
 * returns    FV_OK, FV_ERROR_SHAPE (dimension), FV_ERROR_NOT_FINITE, FV_ERROR_RANGE (an element above
 * FV_INDEX_LARGEST), FV_ERROR_ARGUMENT (a label that is there already or twice in `labels`, or FV_INDEX_NO_LABEL; a
 * NULL), FV_ERROR_OVERFLOW (more than an index holds), FV_ERROR_CORRUPT (a file), FV_ERROR_MEMORY. The message names
 * row and label. The index is untouched on error. O(rows * dimension * log dimension). In a graph they get neighbours
 *            by walks with a beam of 200, 64 vectors at a time: O(rows * (beam + degree) * degree * dimension). The
 *            same calls make the same index, with any number of threads.
 */
FV_API fv_status fv_index_add(fv_index *index, size_t rows, uint32_t dimension, const float *vectors,
                              const uint64_t *labels, const fv_parallel *parallel, fv_message *message);

/**
 * Removes the vectors of `labels` [count]. Searches no longer find them; their rows stay until more than a fifth of all
 * rows is of that kind, and are then taken out, in a copy of the index.
 *
 * returns  FV_OK, FV_ERROR_ARGUMENT (a label that is not there or twice in `labels`; the message names it: nothing is
 *          removed), FV_ERROR_CORRUPT (a file), FV_ERROR_MEMORY. O(count), and what taking out costs: O(rows *
 *          dimension * log dimension), in a graph O(rows * degree^2 * dimension) at most. More at the first change of
 *          an index that was opened from a file: it moves into memory.
 */
FV_API fv_status fv_index_remove(fv_index *index, size_t count, const uint64_t *labels, fv_message *message);

/**
 * Gives labels that are there other vectors: removes and adds in one change, so that a search finds the old vector of a
 * label or the new one.
 *
 * labels   [rows], each one there, and once.
 * returns  as fv_index_add() and fv_index_remove().
 */
FV_API fv_status fv_index_update(fv_index *index, size_t rows, uint32_t dimension, const float *vectors,
                                 const uint64_t *labels, const fv_parallel *parallel, fv_message *message);

/**
 * Maps the index of a file: any number of processes share its memory, and it may be larger than that. A file that is
 * replaced meanwhile stays what it was; it must not be shortened or written into. The first change moves the index into
 * memory, after a check; fv_index_save() makes it the file's. Changes that wait in a journal beside it are made, too.
 *
 * index    out; untouched on error. Close with fv_index_close().
 * returns  FV_OK, FV_ERROR_FILE, FV_ERROR_CORRUPT (damaged, cut short, or no index), FV_ERROR_UNSUPPORTED (another
 *          version, a big-endian processor), FV_ERROR_MEMORY. Cost: reads the header and the centre.
 */
FV_API fv_status fv_index_open(fv_index **index, const char *path, fv_message *message);

/**
 * Opens the index of a file for change: each call that changes it is written to a journal beside the file
 * (`path`.journal) and durable when it returns; the end of the process at any moment, or of the power, loses no call
 * that has returned, and leaves none half done. fv_index_open() and fv_index_open_journal() make the changes that wait
 * in a journal; fv_index_save() to `path` takes them into the file, as does a change after which more wait than 1,024
 * vectors and one for each 256 KiB of the file. Whoever has opened the file before keeps what it saw.
 *
 * The first change moves the index into memory; so does opening one for which changes wait. One process at a time has
 * the journal of an index, until fv_index_close(); fv_index_link() and fv_index_calibrate() don't go to it: save then.
 *
 * parallel  for the changes that wait; NULL: the calling thread.
 * returns   as fv_index_open(), FV_ERROR_FILE also where somebody else has it open for change; FV_ERROR_CORRUPT also
 * for a journal that is damaged, or of another index. Of what a killed process left half written nothing stays.
 */
FV_API fv_status fv_index_open_journal(fv_index **index, const char *path, const fv_parallel *parallel,
                                       fv_message *message);

/** What changes left to be done. */
typedef struct fv_index_changes {
    uint64_t removed;         /* vectors whose rows are still there */
    uint64_t waiting_calls;   /* in the journal, and not in the file */
    uint64_t waiting_vectors; /* that came or went with them */
    uint64_t journal_bytes;
    uint64_t file_bytes; /* of the file that it was opened from or last saved to; 0: none */
    uint64_t reserved[3];
} fv_index_changes;

FV_API void fv_index_changes_get(const fv_index *index, fv_index_changes *changes);

/** Checks all that a file holds, every bit of it; FV_OK for an index in memory. FV_OK, FV_ERROR_CORRUPT (the message
 * says what), FV_ERROR_MEMORY. Reads the whole file. */
FV_API fv_status fv_index_check(const fv_index *index, fv_message *message);

/**
 * Writes the index in the place of what is at `path`: whole and durable, or not at all. The end of the process at any
 * moment leaves the old file or the new one.
 *
 * returns  FV_OK, FV_ERROR_FILE (also: another process is writing that file), FV_ERROR_CORRUPT (it was opened from a
 *          file that is damaged), FV_ERROR_UNSUPPORTED (a big-endian processor), FV_ERROR_OVERFLOW, FV_ERROR_MEMORY.
 *          O(bytes).
 */
FV_API fv_status fv_index_save(const fv_index *index, const char *path, fv_message *message);

/** How a graph is made. Start from fv_index_link_config_default().
 *
 * With a degree of 0 vectors have 32 neighbours, or 64 where there are 2^15 of them or more, the graph is not lean, and
 * most of a sample spread in more than 19 dimensions around where they lie: walks over such find more then, in less
 * work, for about twice the memory of the graph. The same vectors and seed have the same degree, on every processor
 * and with any number of threads; fv_index_info says which. An index keeps it until it is linked again. */
typedef struct fv_index_link_config {
    uint32_t degree;      /* neighbours of each vector: a multiple of 32 up to 256; default 0: see above */
    uint32_t beam;        /* of the walks that look for them, 1..FV_INDEX_BEAM; default 200 */
    uint32_t rounds;      /* of such walks, up to 16; default 0: 1 */
    uint32_t if_less;     /* 1: nothing is linked unless searches for 10 at a recall of 0.95 turn out to be less work by
                             the graph than by scans; one that can't be, of a few thousand vectors, is not begun.
                             Default 0 */
    uint32_t lean;        /* 1: rows hold the numbers of their neighbours and no codes of them, whose distances are
                             computed one by one: less memory, and slower. Default 0 */
    uint32_t reserved[3]; /* 0, or it is refused: where new fields go */
    bool (*progress)(void *context, size_t done, size_t total); /* NULL, or told how many vectors have their neighbours,
                                                                   counted in each round; false: stop */
    void *progress_context;
} fv_index_link_config;

FV_API void fv_index_link_config_default(fv_index_link_config *config);

/**
 * Makes a graph of neighbours over all vectors (SymphonyQG), in place of one that is there: searches with a `beam` walk
 * over it and visit a few hundred rows instead of scanning all codes. Worth its memory for large indexes of which most
 * of the nearest are wanted, not for certain all. It grows and shrinks with fv_index_add(), fv_index_remove() and
 * fv_index_update(). The graph of an inner product finds less after a vector longer than all before has come: link
 * again.
 *
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_OVERFLOW (2^31 vectors or more), FV_ERROR_CORRUPT (a file),
 *          FV_ERROR_MEMORY, FV_ERROR_INTERRUPTED (`progress` said so); the index is as before on error. The same
 *          graph for any number of threads. Memory while it works: twice the vectors in f32, codes and lists; to stay:
 * degree * (dimension / 8 + 12) bytes a vector, degree * 4 of a lean graph, 3 with rows of codes and fewer than 2^23
 * vectors. O(rounds * rows * (beam + degree) * degree * dimension).
 */
FV_API fv_status fv_index_link(fv_index *index, const fv_index_link_config *config, const fv_parallel *parallel,
                               fv_message *message);

/**
 * Measures with which beams walks find what share of the nearest, and how many rows scans compute: what searches with a
 * `recall` go by. fv_index_link() does it with vectors of the index, each left out of its own results; for inner
 * products every second one is turned into a direction by chance, and the worse half counts. Call it for queries that
 * are unlike the vectors (texts for pictures, users for goods), and then before fv_index_save(), which keeps it. Shares
 * are measured for the 1, 10 and 100 nearest, and interpolated. A graph that has grown by half since is measured again
 * with vectors of its own; what was measured with the caller's queries stays.
 *
 * queries    [count][dimension] f32, of which 2,048 are taken; a few hundred at least are worth it. count 0: up to
 *            2,048 vectors of the index. Fewer than 200 vectors are not measured: they are scanned.
 * returns    FV_OK, FV_ERROR_SHAPE, FV_ERROR_NOT_FINITE, FV_ERROR_RANGE, FV_ERROR_ARGUMENT, FV_ERROR_MEMORY; the index
 *            is as before on error. Cost: a scan a query, and walks until nearly all is found.
 */
FV_API fv_status fv_index_calibrate(fv_index *index, size_t count, uint32_t dimension, const float *queries,
                                    const fv_parallel *parallel, fv_message *message);

/** What an index holds. */
typedef struct fv_index_info {
    uint64_t rows;         /* vectors */
    uint64_t memory_bytes; /* held in memory */
    uint64_t file_bytes;   /* mapped; 0 = it is not a file's, or no longer */
    uint64_t seed;
    uint32_t dimension, metric;
    uint32_t isa;      /* fv_isa that searches run with */
    uint32_t version;  /* of the file's format */
    uint32_t degree;   /* of the graph; 0: there is none */
    uint16_t row_type; /* fv_index_row_type */
    uint16_t is_lean;  /* 1: of a graph, see fv_index_link_config */
} fv_index_info;

FV_API void fv_index_info_get(const fv_index *index, fv_index_info *info);

/** Copies the vector of `label` to vector [dimension] (cosine: of length 1). FV_OK, FV_ERROR_ARGUMENT (no such label).
 * O(rows) for an index that was opened and not changed, else O(1). */
FV_API fv_status fv_index_vector(const fv_index *index, uint64_t label, float *vector, fv_message *message);

/** A search. Start from fv_index_search_default(), then set queries and count. */
typedef struct fv_index_search {
    const float *queries;        /* [count][dimension] f32 */
    size_t count;                /* queries */
    const uint64_t *filter_bits; /* NULL, or bit l % 64 of word l / 64 says whether label l may be a result ... */
    size_t filter_words;         /* ... for 64 labels a word; labels beyond are out */
    bool (*filter)(void *context, uint64_t label); /* NULL, or asked for each label that `filter_bits` lets pass and
                                                      whose code is near; by several threads at once if parallel is.
                                                      It has one answer for a label as long as the call lasts */
    void *filter_context;
    const fv_parallel *parallel; /* NULL: the calling thread */
    uint32_t dimension;          /* of the queries: that of the index */
    uint32_t k;                  /* results of a query, at least 1; default 10. fv_index_within(): not looked at */
    float confidence; /* standard deviations within which a code's error is taken to lie, 0 < c <= 100; default
                         FV_INDEX_CONFIDENCE. 1.9 reads fewer rows, and 6 % of the codes at the edge may be wrong. With
                         a `recall` no more than that needs: 1.64 for 0.95 */
    uint32_t beam;    /* 0: the scan of all codes (default). Else a walk over the graph (fv_index_link()) that keeps so
                         many rows in sight, at least k. As many as all: the scan */
    float recall;     /* 0 (default): as `beam` says. Else the share of the k nearest that is to be found, up to 1, and
                         the index picks what is the least work by its calibration (fv_index_calibrate()): the scan of
                         all codes; a walk, with a beam as wide as the filter is narrow; or a look at nothing but the
                         vectors that the filter lets pass. Their share is that of 1,024 vectors by chance; where fewer
                         than 64 of these pass, or the index has at most 4,096, all labels are asked once a call */
    uint32_t reserved[7]; /* 0, or it is refused: where new fields go */
} fv_index_search;

FV_API void fv_index_search_default(uint32_t dimension, fv_index_search *search);

/** Counters of searches; a call adds to them. Set struct_bytes, and the others to 0. */
typedef struct fv_index_report {
    uint32_t struct_bytes; /* sizeof(fv_index_report) */
    uint32_t isa;          /* fv_isa that ran */
    uint64_t queries;
    uint64_t codes;  /* scanned, over all queries */
    uint64_t rows;   /* whose distance was computed exactly */
    uint64_t bytes;  /* of codes and vectors that were read; a block of codes serves up to eight queries at once */
    uint64_t visits; /* rows of the graph that walks visited */
    uint64_t walks;  /* queries that a walk over the graph answered ... */
    uint64_t lists;  /* ... and those for which the vectors that a filter lets pass were looked at alone; all codes were
                        scanned for the others */
} fv_index_report;

/**
 * The k nearest of each query, nearest first, of equal ones the smaller label first. With a beam: of what a walk
 * visits; filters then choose among these, and may leave fewer than k. With a recall there are k if so many pass.
 *
 * labels, distances  out [count][k]. Where there are fewer than k: FV_INDEX_NO_LABEL and infinity, and a remark in
 *                    `message` if the index holds fewer than k vectors.
 * report             NULL, or counters.
 * returns            FV_OK, FV_ERROR_SHAPE (dimension), FV_ERROR_NOT_FINITE (a query), FV_ERROR_RANGE,
 * FV_ERROR_ARGUMENT (k of 0, confidence, recall, a NULL, a reserved field, a report without its size),
 * FV_ERROR_OVERFLOW, FV_ERROR_MEMORY. Nothing is written on error. Cost: rows / 32 * dimension table look-ups of 32
 *                    codes a query, and what has to be computed exactly.
 */
FV_API fv_status fv_index_nearest(const fv_index *index, const fv_index_search *search, uint64_t *labels,
                                  float *distances, fv_index_report *report, fv_message *message);

/**
 * The beam with which walks find `recall` (0..1) of the k nearest, by the calibration; filters are not looked at. 0,
 * the scan, where there is no graph, or no beam that does it.
 *
 * beam     out, for search->beam; untouched on error.
 * returns  FV_OK, FV_ERROR_ARGUMENT. O(1).
 */
FV_API fv_status fv_index_beam_for(const fv_index *index, const fv_index_search *search, double recall, uint32_t *beam,
                                   fv_message *message);

/** What a query found: nearest first, as above. Start from {0}; fv_index_hits_free() when done. */
typedef struct fv_index_hits {
    uint64_t *labels; /* [count] */
    float *distances;
    size_t count, capacity;
} fv_index_hits;

FV_API void fv_index_hits_free(fv_index_hits *hits);

/**
 * All vectors of which the distance is at most `radius`; a radius of infinity is everything.
 *
 * hits     out [search->count]; what they held is replaced.
 * returns  as fv_index_nearest(), FV_ERROR_ARGUMENT also for a radius that is NaN, a beam or a recall. On error all
 * hits are as before.
 */
FV_API fv_status fv_index_within(const fv_index *index, const fv_index_search *search, float radius,
                                 fv_index_hits *hits, fv_index_report *report, fv_message *message);

#ifdef __cplusplus
}
#endif

#endif
