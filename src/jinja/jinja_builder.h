/* jinja_builder.h - a text that grows, with who wrote what of it. */
#ifndef FV_JINJA_BUILDER_H
#define FV_JINJA_BUILDER_H

#include "jinja/jinja_value.h"

/* Start from {.room = room}. */
typedef struct fv_builder {
    fv_jinja_room *room;
    char *bytes;
    uint8_t *marks; /* NULL: all of one origin */
    size_t length, capacity;
    uint8_t origin; /* of all, where there are no marks */
} fv_builder;

void fv_builder_add(fv_builder *builder, const char *bytes, size_t length, fv_origin origin);
void fv_builder_put(fv_builder *builder, const char *text); /* the template's */
void fv_builder_string(fv_builder *builder, const fv_value *string);
void fv_builder_code(fv_builder *builder, uint32_t code, fv_origin origin); /* as UTF-8 */
fv_value fv_builder_value(const fv_builder *builder);

/* The value's str(): a string is itself, undefined is nothing. */
void fv_builder_value_text(fv_builder *builder, const fv_value *value);
void fv_builder_repr(fv_builder *builder, const fv_value *value);
fv_value fv_value_to_string(fv_jinja_room *room, const fv_value *value);

/* The origin of one byte of a string. */
static inline fv_origin fv_string_origin(const fv_value *string, size_t place) {
    return (fv_origin)(string->origin == FV_BY_BOTH ? string->marks[place] : string->origin);
}

/* Python's repr of a number: the shortest that reads back the same. */
enum { FV_REAL_BYTES = 40 };
void fv_real_text(double real, char text[FV_REAL_BYTES]);

#endif
