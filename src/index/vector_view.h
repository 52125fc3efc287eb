/* vector_view.h - the readers of vector_file.h for bytes that are in memory; `path` is for messages and the ending. */
#ifndef FV_VECTOR_VIEW_H
#define FV_VECTOR_VIEW_H

#include "fovea/vector_file.h"
#include "gguf/file_map.h"

fv_status fv_vectors_take(const fv_file_map *map, const char *path, fv_vectors *vectors, fv_message *message);
fv_status fv_labels_take(const fv_file_map *map, const char *path, fv_labels *labels, fv_message *message);
fv_status fv_filter_take(const fv_file_map *map, const char *path, fv_labels *bits, fv_message *message);

#endif
