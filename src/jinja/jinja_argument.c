/* jinja_argument.c - arguments by place and name, and what they have to be. */
#include "jinja/jinja_run.h"
#include <string.h>

/* The place of `name` among words; -1: it is none. */
int fv_word_place(const char *words, const char *name) {
    int place = 0;
    for (const char *word = words; *word; word += strcspn(word, " "), word += strspn(word, " "), place++)
        if (strcspn(word, " ") == strlen(name) && strncmp(word, name, strlen(name)) == 0) return place;
    return -1;
}

static size_t word_count(const char *words) {
    size_t count = 0;
    for (const char *word = words; *word; word += strcspn(word, " "), word += strspn(word, " ")) count++;
    return count;
}

void fv_arguments_sort(fv_run *run, const fv_arguments *arguments, const char *what, const char *parameters,
                       const fv_value *p[FV_PARAMETERS]) {
    for (size_t i = 0; i < FV_PARAMETERS; i++) p[i] = NULL;
    if (arguments->placed > word_count(parameters))
        fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "%.40s takes %zu arguments in this version, not %zu", what,
                      word_count(parameters), arguments->placed);
    for (size_t i = 0; i < arguments->count; i++) {
        int place = i < arguments->placed ? (int)i : fv_word_place(parameters, arguments->names[i]);
        if (place < 0)
            fv_jinja_fail(run->room, FV_ERROR_UNSUPPORTED, "%.40s has no argument %.40s in this version", what,
                          arguments->names[i]);
        p[place] = &arguments->items[i];
    }
}

fv_value fv_want_string(fv_run *run, const fv_value *value, const char *what) {
    if (!value || value->kind != FV_VALUE_STRING)
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%.40s must be a str, not %s", what,
                      value ? fv_value_type(value) : "left out");
    return *value;
}

int64_t fv_want_integer(fv_run *run, const fv_value *value, const char *what) {
    if (!value || (value->kind != FV_VALUE_INTEGER && value->kind != FV_VALUE_BOOL))
        fv_jinja_fail(run->room, FV_ERROR_ARGUMENT, "%.40s must be an int, not %s", what,
                      value ? fv_value_type(value) : "left out");
    return fv_value_as_integer(value);
}

bool fv_flag(const fv_value *value, bool otherwise) { return value ? fv_value_truth(value) : otherwise; }

const fv_callable *fv_callable_find(const fv_callable_table *table, const char *name) {
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->items[i].name, name) == 0) return &table->items[i];
    return NULL;
}
