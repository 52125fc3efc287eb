/* fields.h - the members of a JSON object, read by tables: each is known by name, of its type and in its range, or the
 * request is refused by that name. null is as if it were not there. */
#ifndef FV_FIELDS_H
#define FV_FIELDS_H

#include "json_text.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum fv_field_kind {
    FV_FIELD_SWITCH,  /* bool */
    FV_FIELD_INTEGER, /* int64_t, low..high */
    FV_FIELD_I32,     /* int32_t, likewise */
    FV_FIELD_F32,     /* float, likewise */
    FV_FIELD_READ,    /* by `read` */
    FV_FIELD_LABEL,   /* a text that changes nothing */
    FV_FIELD_ONLY     /* not implemented: only one of the values in `only`, which ask for nothing */
} fv_field_kind;

typedef struct fv_field {
    const char *name;
    fv_field_kind kind;
    size_t offset; /* in the target */
    double low, high;
    fv_status (*read)(void *target, const json_t *value, fv_message *message);
    const char *only; /* a JSON array of values */
} fv_field;

typedef struct fv_field_table {
    const fv_field *fields;
    size_t count;
} fv_field_table;

/** FV_OK, FV_ERROR_ARGUMENT (the message names the field), FV_ERROR_MEMORY. The target may have changed on error.
 *  where: what the object is, for messages: "" for the body, "fovea." for one in it. */
fv_status fv_fields_read(const fv_field_table *tables, size_t count, const json_t *object, const char *where,
                         void *target, fv_message *message);

#endif
