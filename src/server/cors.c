/* cors.c - origins are compared as they are written: scheme, host, port. */
#include "cors.h"
#include <stddef.h>
#include <string.h>

const char *fv_cors_answer(const char *origins, const char *origin) {
    if (!origins || !origin || !origin[0] || strchr(origin, ',')) return NULL;
    if (strcmp(origins, "*") == 0) return "*";
    size_t length = strlen(origin), part;
    for (const char *at = origins; *at; at += part + strspn(at + part, ", ")) {
        part = strcspn(at, ", ");
        if (part == length && memcmp(at, origin, length) == 0) return origin;
    }
    return NULL;
}
