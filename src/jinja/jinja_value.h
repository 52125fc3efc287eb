/* jinja_value.h - what a template's expressions come to. Values lie in a room and go with it. A text knows of each of
 * its bytes whether the template wrote it or somebody whose words must stay words. */
#ifndef FV_JINJA_VALUE_H
#define FV_JINJA_VALUE_H

#include "jinja/jinja_room.h"

typedef enum fv_value_kind {
    FV_VALUE_UNDEFINED, /* `name`: what is not there */
    FV_VALUE_NONE,
    FV_VALUE_BOOL,
    FV_VALUE_INTEGER,
    FV_VALUE_REAL,
    FV_VALUE_STRING,
    FV_VALUE_LIST, /* or a tuple */
    FV_VALUE_DICT,
    FV_VALUE_SPACE, /* a namespace: a dict whose members are set */
    FV_VALUE_MACRO,
    FV_VALUE_FUNCTION, /* of the interpreter's own */
    FV_VALUE_METHOD,   /* `name` of `self` */
    FV_VALUE_LOOP
} fv_value_kind;

/* Who wrote a text. */
typedef enum fv_origin { FV_BY_TEMPLATE, FV_BY_USER, FV_BY_BOTH } fv_origin;

typedef struct fv_value fv_value;
typedef struct fv_list fv_list;
typedef struct fv_dict fv_dict;

struct fv_value {
    uint8_t kind, origin;
    bool truth;    /* BOOL */
    bool is_tuple; /* LIST */
    bool is_safe;  /* STRING: went through `safe`; what is added to it is escaped */
    union {
        size_t length; /* STRING, in bytes */
        int64_t integer;
        double real;
    };
    union {
        const char *bytes; /* STRING */
        const char *name;  /* UNDEFINED, METHOD, FUNCTION */
        fv_list *list;
        fv_dict *dict; /* DICT, SPACE */
        const void *thing;
    };
    union {
        const uint8_t *marks; /* STRING by both: an fv_origin for each byte */
        const fv_value *self; /* METHOD */
        const void *closure;  /* MACRO: its scope */
    };
};

struct fv_list {
    fv_value *items;
    size_t count, capacity;
};

typedef struct fv_pair {
    fv_value key, value;
} fv_pair;

struct fv_dict {
    fv_pair *pairs;
    size_t count, capacity;
};

/* ---- making ---- */

fv_value fv_value_undefined(const char *name);
fv_value fv_value_none(void);
fv_value fv_value_bool(bool truth);
fv_value fv_value_integer(int64_t integer);
fv_value fv_value_real(double real);
fv_value fv_value_text(const char *bytes); /* of the template; not copied */
fv_value fv_value_string(const char *bytes, size_t length, fv_origin origin);
fv_value fv_value_part(const fv_value *string, size_t begin, size_t end); /* of its bytes */
fv_value fv_value_list(fv_jinja_room *room);
fv_value fv_value_dict(fv_jinja_room *room);

void fv_list_add(fv_jinja_room *room, fv_list *list, fv_value value);
void fv_dict_set(fv_jinja_room *room, fv_dict *dict, fv_value key, fv_value value);
void fv_dict_add(fv_jinja_room *room, fv_dict *dict, fv_value key, fv_value value);          /* it is known to be new */
const fv_value *fv_dict_find(fv_jinja_room *room, const fv_dict *dict, const fv_value *key); /* NULL: not there */
const fv_value *fv_dict_get(const fv_dict *dict, const char *name);

/* ---- asking ---- */

bool fv_value_truth(const fv_value *value);
bool fv_value_equal(fv_jinja_room *room, const fv_value *a, const fv_value *b);
/* Below, at or above 0. Fails where Python does. */
int fv_value_order(fv_jinja_room *room, const fv_value *a, const fv_value *b);
bool fv_value_is_number(const fv_value *value); /* bools are */
double fv_value_as_real(const fv_value *value);
int64_t fv_value_as_integer(const fv_value *value); /* of BOOL and INTEGER */
bool fv_value_is(const fv_value *string, const char *text);
int fv_string_order(const fv_value *a, const fv_value *b);
const char *fv_value_type(const fv_value *value); /* Python's name */

/* Code points. */
size_t fv_string_characters(const fv_value *string);
size_t fv_string_place(const fv_value *string, size_t character); /* its first byte; the length if there are fewer */
/* Bytes of the character at `place`; *code: its code point, or what stands there. */
size_t fv_string_read(const fv_value *string, size_t place, uint32_t *code);

/* What a `for` goes through: a new list. Fails where there is nothing to go through. */
fv_value fv_value_items(fv_jinja_room *room, const fv_value *value);

#endif
