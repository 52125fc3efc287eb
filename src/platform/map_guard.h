/* map_guard.h - the files that are mapped, for the handler of fovea/file_fault.h. */
#ifndef FV_MAP_GUARD_H
#define FV_MAP_GUARD_H

#include <stddef.h>

/* From here to fv_map_guard_remove() a fault in bytes[count] is one of `path`, which must stay alive as long. With no
 * place left, nothing happens. Thread-safe. */
void fv_map_guard_add(const void *bytes, size_t count, const char *path);
void fv_map_guard_remove(const void *bytes);

#endif
