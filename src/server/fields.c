/* fields.c - one loop over what came. */
#include "fields.h"
#include "fovea/words.h"
#include <math.h>
#include <string.h>

typedef struct reader {
    const char *where;
    void *target;
    fv_message *message;
} reader;

static fv_status refuse(const reader *r, const fv_field *field, const char *wanted) {
    return fv_message_set(r->message, FV_ERROR_ARGUMENT, "field '%s%s' must be %s", r->where, field->name, wanted);
}

static fv_status refuse_range(const reader *r, const fv_field *field, const char *kind) {
    return fv_message_set(r->message, FV_ERROR_ARGUMENT, "field '%s%s' must be %s from %.10g to %.10g", r->where,
                          field->name, kind, field->low, field->high);
}

/* A whole number may be written as a real one. */
static fv_status read_integer(const reader *r, const fv_field *field, const json_t *value, void *place) {
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(number >= field->low && number <= field->high) || number - floor(number) > 0)
        return refuse_range(r, field, "an integer");
    if (field->kind == FV_FIELD_INTEGER)
        *(int64_t *)place = json_is_integer(value) ? json_integer_value(value) : (int64_t)number;
    else
        *(int32_t *)place = (int32_t)number;
    return FV_OK;
}

static fv_status read_only(const reader *r, const fv_field *field, const json_t *value) {
    json_t *allowed = json_loads(field->only, 0, NULL);
    const json_t *one;
    size_t index;
    bool found = false;
    json_array_foreach(allowed, index, one) found = found || json_equal(one, value);
    json_decref(allowed);
    if (found) return FV_OK;
    return fv_message_set(r->message, FV_ERROR_ARGUMENT,
                          "field '%s%s' is not implemented in this version: leave it out (or one of %s)", r->where,
                          field->name, field->only);
}

static fv_status read_value(const reader *r, const fv_field *field, const json_t *value) {
    void *place = (char *)r->target + field->offset;
    switch (field->kind) {
    case FV_FIELD_SWITCH:
        if (!json_is_boolean(value)) return refuse(r, field, "true or false");
        *(bool *)place = json_is_true(value);
        return FV_OK;
    case FV_FIELD_INTEGER:
    case FV_FIELD_I32:
        return read_integer(r, field, value, place);
    case FV_FIELD_F32: {
        double number = json_is_number(value) ? json_number_value(value) : NAN;
        if (!(number >= field->low && number <= field->high)) return refuse_range(r, field, "a number");
        *(float *)place = (float)number;
        return FV_OK;
    }
    case FV_FIELD_READ:
        return field->read(r->target, value, r->message);
    case FV_FIELD_LABEL:
        return json_is_string(value) ? FV_OK : refuse(r, field, "a text");
    case FV_FIELD_ONLY:
        return read_only(r, field, value);
    }
    return FV_ERROR_ARGUMENT;
}

static const fv_field *find(const fv_field_table *tables, size_t count, const char *name) {
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (strcmp(tables[t].fields[i].name, name) == 0) return &tables[t].fields[i];
    return NULL;
}

static fv_status refuse_name(const fv_field_table *tables, size_t count, const reader *r, const char *name) {
    char nearest[64] = "";
    size_t best = SIZE_MAX;
    for (size_t t = 0; t < count; t++)
        for (size_t i = 0; i < tables[t].count; i++)
            best = fv_words_nearest(tables[t].fields[i].name, name, best, nearest, sizeof nearest);
    return fv_message_set(r->message, FV_ERROR_ARGUMENT, "field '%s%.64s' is not known; the nearest is '%s'", r->where,
                          name, nearest);
}

fv_status fv_fields_read(const fv_field_table *tables, size_t count, const json_t *object, const char *where,
                         void *target, fv_message *message) {
    const reader r = {where, target, message};
    const char *name;
    json_t *value, *members = (json_t *)(uintptr_t)object; /* jansson's iterator takes no const */
    fv_status status = FV_OK;
    json_object_foreach(members, name, value) {
        const fv_field *field = find(tables, count, name);
        if (!field) return refuse_name(tables, count, &r, name);
        if (!json_is_null(value)) status = read_value(&r, field, value);
        if (status != FV_OK) return status;
    }
    return FV_OK;
}
