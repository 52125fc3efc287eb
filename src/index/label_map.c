/* label_map.c - linear probing; what follows a hole moves up, so that there are no tombstones. */
#include "index/label_map.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <stdlib.h>

static size_t home(const fv_label_map *map, uint64_t label) { return (size_t)fv_splitmix(label, 0) & (map->slots - 1); }

bool fv_label_map_reserve(fv_label_map *map, const uint64_t *labels, size_t rows) {
    size_t slots = map->slots ? map->slots : 16;
    while (slots / 2 < rows) {
        if (slots > SIZE_MAX / 2) return false;
        slots *= 2;
    }
    if (slots == map->slots) return true;
    fv_label_map larger = {.rows = fv_array_new(slots, sizeof *larger.rows), .slots = slots};
    if (!larger.rows) return false;
    for (size_t i = 0; i < slots; i++) larger.rows[i] = FV_NO_ROW;
    for (size_t i = 0; i < map->slots; i++)
        if (map->rows[i] != FV_NO_ROW) fv_label_map_put(&larger, labels, map->rows[i]);
    free(map->rows);
    *map = larger;
    return true;
}

void fv_label_map_free(fv_label_map *map) {
    free(map->rows);
    *map = (fv_label_map){0};
}

uint32_t fv_label_map_find(const fv_label_map *map, const uint64_t *labels, uint64_t label) {
    if (!map->slots) return FV_NO_ROW;
    for (size_t i = home(map, label);; i = (i + 1) & (map->slots - 1)) {
        uint32_t row = map->rows[i];
        if (row == FV_NO_ROW || labels[row] == label) return row;
    }
}

void fv_label_map_put(fv_label_map *map, const uint64_t *labels, uint32_t row) {
    size_t i = home(map, labels[row]);
    while (map->rows[i] != FV_NO_ROW) i = (i + 1) & (map->slots - 1);
    map->rows[i] = row;
}

void fv_label_map_drop(fv_label_map *map, const uint64_t *labels, uint32_t row) {
    size_t mask = map->slots - 1, hole = home(map, labels[row]);
    while (map->rows[hole] != row) hole = (hole + 1) & mask;
    for (size_t i = (hole + 1) & mask; map->rows[i] != FV_NO_ROW; i = (i + 1) & mask) {
        size_t from = home(map, labels[map->rows[i]]);
        if (((i - from) & mask) < ((i - hole) & mask)) continue; /* it would lie before its home */
        map->rows[hole] = map->rows[i];
        hole = i;
    }
    map->rows[hole] = FV_NO_ROW;
}
