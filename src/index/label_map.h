/* label_map.h - from a label to the row that has it: open addressing over row numbers, the labels themselves are the
 * index's. */
#ifndef FV_LABEL_MAP_H
#define FV_LABEL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FV_NO_ROW UINT32_MAX

/* Start from {0}. */
typedef struct fv_label_map {
    uint32_t *rows; /* [slots], FV_NO_ROW: free */
    size_t slots;   /* a power of two, at least twice as many as rows; 0: none */
} fv_label_map;

/* Room for `rows` rows; those that are in it stay. False: no memory, nothing changed. */
bool fv_label_map_reserve(fv_label_map *map, const uint64_t *labels, size_t rows);
void fv_label_map_free(fv_label_map *map);

/* The row that has the label; FV_NO_ROW if none. */
uint32_t fv_label_map_find(const fv_label_map *map, const uint64_t *labels, uint64_t label);

/* Takes up labels[row], which is not there; there is room. */
void fv_label_map_put(fv_label_map *map, const uint64_t *labels, uint32_t row);

/* Takes `row` out, which is there. */
void fv_label_map_drop(fv_label_map *map, const uint64_t *labels, uint32_t row);

#endif
