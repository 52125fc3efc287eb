/* graph_beam.h - what a walk over a graph has in sight: the best estimates, sorted, and what it visited. */
#ifndef FV_GRAPH_BEAM_H
#define FV_GRAPH_BEAM_H

#include "index/label_map.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FV_BEAM_WIDE 512                 /* entries of a beam that keeps no worse estimates */
#define FV_BEAM_ROWS ((uint64_t)1 << 31) /* of a graph, less than: an entry has a bit for itself */

typedef struct fv_visit {
    float distance; /* by L2, with the last channel */
    uint32_t row;
    uint32_t tie; /* while a graph is made: which of equally near ones comes first, by chance */
} fv_visit;

/* Scratch of one walk after another; nothing is allocated on the way. An entry is, from its highest bit on: the
 * estimate, as a number that sorts as it does; the row; whether it was visited. A row may be there with several
 * estimates. Wide beams would be filled by them: they take another estimate of a row only if it is better. */
typedef struct fv_beam {
    uint64_t *entries; /* [most + room], nearest first; entries[-1] is 0 */
    size_t count, most, room;
    size_t next;      /* no entry before it is open */
    fv_visit *visits; /* [most_visits], as they came */
    size_t visit_count, most_visits;
    uint32_t *seen; /* [slots] rows by hash: those that were visited, in a wide beam those that were met, too */
    uint32_t *best; /* [slots], of a wide beam: the best estimate, as an entry has it; 0: it was visited. Else NULL */
    size_t slots;   /* a power of two, at least twice most_visits */
    size_t seen_count;
    float near;       /* what the row that was taken last was met with */
    bool is_met_once; /* rows are marked as they are met, and met once: `seen` has them */
    uint32_t hidden;  /* a row that walks leave out, or FV_NO_ROW */
} fv_beam;

/* A beam of `most` entries, to which at most `room` are added at once. met: rows that are met once, about; 0: they are
 * met again and again. False: no memory. */
bool fv_beam_make(fv_beam *beam, size_t most, size_t room, size_t met);
void fv_beam_free(fv_beam *beam);

/* An empty one. */
void fv_beam_begin(fv_beam *beam);

/* Adds a row unless it was visited; near is a number. Sorted into `fresh` [*count], to be merged. */
void fv_beam_meet(fv_beam *beam, float near, uint32_t row, uint64_t *fresh, size_t *count);

/* Adds what was met; of equal estimates the smaller row comes first. */
void fv_beam_merge(fv_beam *beam, const uint64_t *fresh, size_t count);

/* What is not nearer than this would not stay: infinity while there is room. */
float fv_beam_limit(const fv_beam *beam);

/* Takes the nearest row that was not visited; from now on it was. False: there is none, or no room for a visit. */
bool fv_beam_take(fv_beam *beam, uint32_t *row);

/* Takes that row, unless it was visited (met), or there is no room. */
bool fv_beam_mark(fv_beam *beam, uint32_t row);

#endif
