/* array_call.c - attention over arrays: one call of Python's, cut into calls of the library between which Ctrl-C is
 * looked for. Rows are independent, so cutting changes no bit. */
#include "binding.h"
#include "fovea/array_attention.h"
#include "tensor.h"

/* A slice packs its keys again, which costs about as much as three rows. */
#define WORK_SLICE 8e9 /* multiplications: well below a second on a slow core */
#define ROWS_LEAST 128u

/* What a call has open. */
typedef struct array_arguments {
    tensor query, keys, values, out, lse;
    binding_call call;
    fv_report report;
} array_arguments;

static void close_all(array_arguments *a) {
    tensor_close(&a->query);
    tensor_close(&a->keys);
    tensor_close(&a->values);
    tensor_close(&a->out);
    tensor_close(&a->lse);
}

static bool open_all(array_arguments *a, PyObject *arguments) {
    PyObject *lse = PyTuple_GetItem(arguments, 4);
    return lse && tensor_open(&a->query, PyTuple_GetItem(arguments, 0), "query", TENSOR_IN) &&
           tensor_open(&a->keys, PyTuple_GetItem(arguments, 1), "key", TENSOR_IN) &&
           tensor_open(&a->values, PyTuple_GetItem(arguments, 2), "value", TENSOR_IN) &&
           tensor_open(&a->out, PyTuple_GetItem(arguments, 3), "out", TENSOR_OUT) &&
           (lse == Py_None || tensor_open(&a->lse, lse, "lse", TENSOR_OUT)) &&
           binding_call_read(&a->call, arguments, 5);
}

static bool refuse(const char *text, const tensor *a, const tensor *b) {
    char of_a[TENSOR_TEXT], of_b[TENSOR_TEXT];
    PyErr_Format(PyExc_ValueError, "%s; %s: %s", tensor_text(a, of_a), tensor_text(b, of_b), text);
    return false;
}

/* What the sizes of the arrays must be to each other, with all of the array in the sentence; the library checks again.
 */
static bool check_shapes(const array_arguments *a, const fv_array_attention *call) {
    const fv_array *q = &call->query, *k = &call->keys, *v = &call->values;
    if (a->keys.axes != a->query.axes) return refuse("they must have the same axes", &a->query, &a->keys);
    if (a->values.axes != a->keys.axes || k->tokens != v->tokens || k->heads != v->heads || k->batches != v->batches)
        return refuse("they must have the same shape", &a->keys, &a->values);
    if (k->head_dim != v->head_dim)
        return refuse("keys and values must have the same head_dim: pad the smaller with zeros", &a->keys, &a->values);
    if (q->head_dim != k->head_dim) return refuse("the last axis, head_dim, must be the same", &a->query, &a->keys);
    if (q->batches != k->batches) return refuse("the batches must be as many", &a->query, &a->keys);
    if (q->heads % k->heads)
        return refuse("the heads of query must be a multiple of those of key", &a->query, &a->keys);
    return true;
}

static bool fill_call(array_arguments *a, fv_array_attention *call) {
    const binding_call *from = &a->call;
    fv_array_attention_default(call);
    if (!tensor_array(&a->query, from->heads_first, &call->query) ||
        !tensor_array(&a->keys, from->heads_first, &call->keys) ||
        !tensor_array(&a->values, from->heads_first, &call->values) ||
        !tensor_array(&a->out, from->heads_first, &call->out) || !check_shapes(a, call))
        return false;
    if (a->lse.data) call->lse = a->lse.data;
    call->policy = from->text;
    call->scale = from->scale;
    call->softcap = from->softcap;
    call->causal = from->causal;
    call->window = from->window;
    if (from->wants_report) {
        a->report.struct_bytes = sizeof a->report;
        call->report = &a->report;
    }
    return true;
}

static void move(fv_array *array, uint32_t batch, uint32_t token) {
    size_t element = array->type == FV_ELEMENT_F32 ? 4 : 2;
    array->data = (char *)array->data + element * (batch * array->batch_stride + token * array->token_stride);
}

/* Rows first.. of one batch. Causal rows see no key after their own, so those are left out: row `first + count - 1` of
 * the slice is then the last key's, as it is in the whole. */
static fv_array_attention slice(const fv_array_attention *whole, uint32_t batch, uint32_t first, uint32_t count) {
    fv_array_attention part = *whole;
    uint32_t unseen = whole->causal ? whole->query.tokens - first - count : 0;
    part.query.batches = part.keys.batches = part.values.batches = part.out.batches = 1;
    move(&part.query, batch, first);
    move(&part.out, batch, first);
    move(&part.keys, batch, 0);
    move(&part.values, batch, 0);
    part.query.tokens = part.out.tokens = count;
    part.keys.tokens -= unseen;
    part.values.tokens -= unseen;
    if (part.lse) part.lse += ((size_t)batch * whole->query.tokens + first) * whole->query.heads;
    return part;
}

static bool run(const fv_array_attention *call) {
    fv_message message = {.text = ""};
    fv_status status;
    Py_BEGIN_ALLOW_THREADS;
    status = fv_array_attention_run(call, &message);
    Py_END_ALLOW_THREADS;
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK && PyErr_CheckSignals() == 0;
}

/* Multiplications of a row. */
static double row_work(const fv_array_attention *call) {
    return 2.0 * call->keys.tokens * call->query.heads * call->query.head_dim;
}

static bool run_in_slices(const fv_array_attention *call) {
    uint32_t tokens = call->query.tokens, batches = call->query.batches;
    double rows = WORK_SLICE / row_work(call);
    bool whole_rows = rows >= (double)batches * tokens;
    if (whole_rows || tokens > call->keys.tokens) return run(call);
    uint32_t most = rows > ROWS_LEAST ? rows < tokens ? (uint32_t)rows : tokens : ROWS_LEAST;
    if (!call->causal && call->policy[0] != 'd') most = tokens; /* their rows have positions; dense ones have none */
    for (uint32_t batch = 0; batch < batches; batch++)
        for (uint32_t first = 0, count; first < tokens; first += count) {
            count = tokens - first < most ? tokens - first : most;
            fv_array_attention part = slice(call, batch, first, count);
            if (!run(&part)) return false;
        }
    return true;
}

/* attention(query, key, value, out, lse, policy, causal, scale, softcap, window, heads_first, wants_report) */
PyObject *array_call(PyObject *module, PyObject *arguments) {
    (void)module;
    array_arguments a = {.report = {0}};
    fv_array_attention call;
    PyObject *result = NULL;
    if (open_all(&a, arguments) && fill_call(&a, &call)) {
        shared_pool *pool = threads_take(row_work(&call) * call.query.tokens * call.query.batches);
        call.parallel = threads_parallel(pool);
        bool done = run_in_slices(&call);
        threads_give(pool);
        if (done) result = a.call.wants_report ? report_dict(&a.report) : binding_none();
    }
    close_all(&a);
    return result;
}
