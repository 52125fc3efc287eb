/* jinja_run.h - a template on its way through values: what is in scope, what was written, who is called how. */
#ifndef FV_JINJA_RUN_H
#define FV_JINJA_RUN_H

#include "jinja/jinja_builder.h"
#include "jinja/jinja_node.h"

typedef struct fv_binding {
    const char *name; /* the template's pointer */
    fv_value value;
} fv_binding;

typedef struct fv_scope fv_scope;
struct fv_scope {
    const fv_scope *parent;
    fv_binding *bindings;
    size_t count, capacity;
};

typedef struct fv_run fv_run;
typedef struct fv_arguments fv_arguments;
struct fv_run {
    fv_jinja_room *room;
    fv_scope *scope;
    fv_builder *out;
    const char *caller_name; /* the template's pointer of "caller" and "loop"; NULL: it does not say that */
    const char *loop_name;
    int64_t now_s; /* seconds since 1970, UTC */
    fv_value (*call_macro)(fv_run *run, const fv_value *macro, const fv_arguments *arguments);
};

typedef struct fv_macro {
    const fv_node *parameters, *body;
    const char *name;
} fv_macro;

/* One round of a `for`. */
typedef struct fv_loop {
    const fv_list *items;
    size_t index;
    fv_value last; /* what changed() saw; a list, or undefined */
} fv_loop;

/* What a call has in its brackets. */
struct fv_arguments {
    const fv_value *items;
    const char *const *names; /* [count] NULL: by its place */
    size_t count, placed;     /* `placed` of them come first */
};

enum { FV_PARAMETERS = 8 };

/* Arguments by the words of `parameters`; p[i] NULL: not given. Fails on one too many. `what` is for messages. */
void fv_arguments_sort(fv_run *run, const fv_arguments *arguments, const char *what, const char *parameters,
                       const fv_value *p[FV_PARAMETERS]);

/* ---- jinja_run.c: statements ---- */

void fv_run_body(fv_run *run, const fv_node *first);
fv_value fv_run_macro(fv_run *run, const fv_value *macro, const fv_arguments *arguments);
void fv_scope_set(fv_run *run, const char *name, fv_value value); /* in the innermost scope */
fv_scope *fv_scope_open(fv_run *run, const fv_scope *parent);     /* and makes it the innermost: the one before */

/* ---- jinja_eval.c: expressions ---- */

fv_value fv_eval(fv_run *run, const fv_node *node);
fv_value fv_eval_filters(fv_run *run, const fv_node *filter, fv_value input); /* a chain whose first has no input */

/* ---- jinja_member.c ---- */

_Noreturn void fv_fail_undefined(fv_run *run, const fv_value *value);
fv_value fv_value_attribute(fv_run *run, const fv_value *of, const char *name);
fv_value fv_value_item(fv_run *run, const fv_value *of, const fv_value *key);

/* ---- jinja_operator.c ---- */

fv_value fv_operate(fv_run *run, uint32_t sign, const fv_value *a, const fv_value *b);
fv_value fv_negate(fv_run *run, uint32_t sign, const fv_value *a);
bool fv_compare(fv_run *run, uint32_t sign, const fv_value *a, const fv_value *b);
fv_value fv_slice(fv_run *run, const fv_value *of, const fv_value bounds[3]); /* undefined: not given */
fv_value fv_escape(fv_run *run, const fv_value *value);                       /* for HTML */

/* ---- what has a name ---- */

fv_value fv_call_function(fv_run *run, const char *name, const fv_arguments *arguments);
bool fv_function_known(const char *name);
fv_value fv_call_filter(fv_run *run, const char *name, const fv_value *input, const fv_arguments *arguments);
bool fv_call_test(fv_run *run, const char *name, const fv_value *input, const fv_arguments *arguments);
fv_value fv_call_method(fv_run *run, const fv_value *self, const char *name, const fv_arguments *arguments);
bool fv_method_known(const fv_value *self, const char *name);

/* Of tables: what a name means. */
typedef fv_value fv_called(fv_run *run, const fv_value *self, const fv_value *const *p);
typedef struct fv_callable {
    const char *name, *parameters;
    fv_called *call;
} fv_callable;
typedef struct fv_callable_table {
    const fv_callable *items;
    size_t count;
} fv_callable_table;
extern const fv_callable_table fv_string_methods, fv_string_search_methods, fv_list_methods, fv_dict_methods;
extern const fv_callable_table fv_text_filters, fv_list_filters;
const fv_callable *fv_callable_find(const fv_callable_table *table, const char *name);

/* ---- helpers of theirs ---- */

int fv_word_place(const char *words, const char *name);                      /* of `name` among words; -1: it is none */
fv_value fv_attribute_of(fv_run *run, fv_value value, const fv_value *path); /* "a.b.0" */
fv_value fv_want_string(fv_run *run, const fv_value *value, const char *what); /* fails on anything else */
int64_t fv_want_integer(fv_run *run, const fv_value *value, const char *what);
bool fv_flag(const fv_value *value, bool otherwise);                            /* truth of what may not be given */
size_t fv_string_find(const fv_value *in, const fv_value *wanted, size_t from); /* bytes; SIZE_MAX: not there */
fv_value fv_string_trim(const fv_value *string, const fv_value *characters, bool left, bool right);
fv_value fv_string_replace(fv_run *run, const fv_value *in, const fv_value *old, const fv_value *made, int64_t most);
fv_value fv_string_cased(fv_run *run, const fv_value *string,
                         const char *how); /* "upper", "lower", "title", "capitalize" */
fv_value fv_string_percent(fv_run *run, const fv_value *form, const fv_value *values);
fv_value fv_dict_items(fv_jinja_room *room, const fv_dict *dict); /* a list of tuples */
fv_value fv_list_sort(fv_run *run, fv_value list, const fv_value *attribute, bool cased, bool reverse);

uint32_t fv_code_cased(uint32_t code, bool upper); /* the other letter of a pair, or itself: jinja_case.c */

/* ---- jinja_json.c ---- */

/* Members of a JSON object, bound in the run's scope to the names that the template uses. */
void fv_json_bind(fv_run *run, const fv_name_list *names, const char *json, size_t length);
fv_value fv_json_read(fv_run *run, const fv_value *text);
/* p: ensure_ascii indent separators sort_keys */
fv_value fv_json_text(fv_run *run, const fv_value *value, const fv_value *const *p);

#endif
