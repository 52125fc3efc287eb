/* cache_attend.c - attention of rows of queries over a cache that is kept. */
#include "arrays/array_elements.h"
#include "cache_object.h"
#include "fovea/policy_text.h"
#include "tensor.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SLICE 256u     /* rows that are attended between two looks at Ctrl-C, at most */
#define WORK_SLICE 8e9 /* multiplications of a slice, at most, unless it is one row */

typedef struct attend_arguments {
    tensor query, out, lse;
    binding_call call;
    fv_array rows, outs;
    uint32_t first_token;
    fv_report report;
} attend_arguments;

static bool same_config(const fv_attention_config *a, const fv_attention_config *b) {
    return a->attend.query_heads == b->attend.query_heads && a->attend.scale == b->attend.scale &&
           a->attend.softcap == b->attend.softcap && a->max_tokens >= b->max_tokens && a->workers >= b->workers &&
           a->plan_steps >= b->plan_steps && a->chooses >= b->chooses;
}

/* Scratch for `wanted`; what is there is kept if it does. */
static fv_status prepare(cache_object *self, const fv_attention_config *wanted) {
    size_t bytes;
    if (self->attention && same_config(&self->config, wanted)) return FV_OK;
    fv_status status = fv_attention_size(wanted, &bytes);
    if (status != FV_OK) return status;
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
    fv_attention *attention = NULL;
    status = memory ? fv_attention_init(&attention, wanted, binding_kernels(), memory, bytes) : FV_ERROR_MEMORY;
    if (status != FV_OK) {
        free(memory);
        return status;
    }
    free(self->attention_memory);
    self->attention_memory = memory;
    self->attention = attention;
    self->config = *wanted;
    return FV_OK;
}

static fv_attention_config config_of(const cache_object *self, const attend_arguments *a, const fv_parallel *parallel) {
    fv_attention_config config = {.max_tokens = self->shape.max_tokens,
                                  .workers = parallel && parallel->workers ? parallel->workers : 1,
                                  .chooses = fv_policy_is_dynamic(&a->call.policy)};
    config.attend = (fv_attend_config){.query_heads = a->rows.heads,
                                       .kv_heads = self->shape.kv_heads,
                                       .head_dim = self->shape.head_dim,
                                       .scale = a->call.scale,
                                       .softcap = a->call.softcap};
    if (!(config.attend.scale > 0.0f)) config.attend.scale = 1.0f / sqrtf((float)self->shape.head_dim);
    config.plan_steps = fv_policy_steps(&a->call.policy, config.max_tokens, FV_TILE_ROWS);
    return config;
}

/* Rows first.. of the call. Without the GIL. */
static fv_status attend_slice(cache_object *self, attend_arguments *a, uint32_t first, uint32_t count,
                              const fv_parallel *parallel) {
    size_t width = (size_t)a->rows.heads * a->rows.head_dim;
    fv_attention_rows rows = {.first_token = a->first_token + first, .count = count, .local_window = a->call.window};
    const float *query = fv_array_in_place(&a->rows, 0, first);
    rows.query_stride = query && a->rows.token_stride > width ? a->rows.token_stride : width;
    if (!query) fv_array_widen(&a->rows, 0, first, count, self->rows);
    rows.query = query ? query : self->rows;
    rows.out = fv_array_in_place(&a->outs, 0, first);
    rows.out_stride = rows.out && a->outs.token_stride > width ? a->outs.token_stride : width;
    bool in_place = rows.out != NULL;
    if (!in_place) rows.out = self->rows + SLICE * width;
    if (a->lse.data) {
        rows.lse = (float *)a->lse.data + (size_t)first * a->rows.heads;
        rows.lse_stride = a->rows.heads;
    }
    fv_status status = fv_attention_run(self->attention, self->cache, &a->call.policy, &rows, parallel,
                                        a->call.wants_report ? &a->report : NULL);
    if (status == FV_OK && !in_place) fv_array_narrow(&a->outs, 0, first, count, rows.out);
    return status;
}

static fv_status say_policy(const cache_object *self, const attend_arguments *a, fv_message *message) {
    fv_policy_fault fault = fv_policy_find_fault(&a->call.policy);
    if (fault == FV_POLICY_FAULT_NONE) (void)fv_policy_suits(&a->call.policy, &self->shape, a->call.softcap, &fault);
    if (fault == FV_POLICY_FAULT_NONE) return FV_OK;
    return fv_message_set(message, FV_ERROR_POLICY, "policy %s: %s %s; a Cache is made for the policies it is told of",
                          a->call.text, fv_policy_fault_field(fault), fv_policy_fault_text(fault));
}

static bool attend(cache_object *self, attend_arguments *a, const fv_parallel *parallel) {
    fv_message message = {.text = ""};
    fv_attention_config config = config_of(self, a, parallel);
    size_t width = (size_t)a->rows.heads * a->rows.head_dim;
    double row_work = 2.0 * fv_cache_tokens(self->cache) * (double)width;
    uint32_t most = WORK_SLICE / row_work > SLICE ? SLICE
                    : WORK_SLICE / row_work < 16  ? 16
                                                  : (uint32_t)(WORK_SLICE / row_work);
    fv_status status = say_policy(self, a, &message);
    if (status == FV_OK) status = prepare(self, &config);
    if (status == FV_OK) status = cache_rows(self, 2 * SLICE * width);
    if (status == FV_OK) status = fv_array_scan(&a->rows, FV_CACHE_LARGEST, "query", &message);
    for (uint32_t first = 0, count; status == FV_OK && first < a->rows.tokens; first += count) {
        count = a->rows.tokens - first < most ? a->rows.tokens - first : most;
        Py_BEGIN_ALLOW_THREADS;
        status = attend_slice(self, a, first, count, parallel);
        Py_END_ALLOW_THREADS;
        if (status == FV_OK && PyErr_CheckSignals() != 0) return false;
    }
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK;
}

static bool refuse_shape(const attend_arguments *a, const cache_object *self) {
    char text[TENSOR_TEXT];
    PyErr_Format(PyExc_ValueError,
                 "%s; the cache has one sequence of %u tokens, %u heads of %u elements: rows are at most the "
                 "tokens, heads a multiple of the cache's",
                 tensor_text(&a->query, text), fv_cache_tokens(self->cache), self->shape.kv_heads,
                 self->shape.head_dim);
    return false;
}

/* Sizes against those of the cache, and where the rows stand in it: at its end, or from `first` (not negative) on. */
static bool place_rows(attend_arguments *a, const cache_object *self, long first) {
    if (!tensor_array(&a->query, a->call.heads_first, &a->rows) ||
        !tensor_array(&a->out, a->call.heads_first, &a->outs))
        return false;
    const fv_array *q = &a->rows;
    uint32_t tokens = fv_cache_tokens(self->cache);
    if (q->batches != 1 || q->heads % self->shape.kv_heads || q->head_dim != self->shape.head_dim || q->tokens > tokens)
        return refuse_shape(a, self);
    if (first > (long)(tokens - q->tokens)) {
        PyErr_Format(PyExc_ValueError, "rows %ld to %ld of a cache of %u tokens", first, first + (long)q->tokens - 1,
                     tokens);
        return false;
    }
    a->first_token = first < 0 ? tokens - q->tokens : (uint32_t)first;
    a->call.policy.causal = a->call.causal;
    if (a->call.scale >= 0.0f && a->call.scale <= 1024.0f && a->call.softcap >= 0.0f) return true;
    PyErr_SetString(PyExc_ValueError, "scale is 0 (1 / sqrt(head_dim)) to 1024, softcap 0 (off) or above");
    return false;
}

static bool open_all(attend_arguments *a, PyObject *arguments) {
    PyObject *lse = PyTuple_GetItem(arguments, 2);
    return lse && tensor_open(&a->query, PyTuple_GetItem(arguments, 0), "query", TENSOR_IN) &&
           tensor_open(&a->out, PyTuple_GetItem(arguments, 1), "out", TENSOR_OUT) &&
           (lse == Py_None || tensor_open(&a->lse, lse, "lse", TENSOR_OUT)) &&
           binding_call_read(&a->call, arguments, 4);
}

/* (query, out, lse, first, policy, causal, scale, softcap, window, heads_first, wants_report); first < 0: the last rows
 */
PyObject *cache_attend(PyObject *object, PyObject *arguments) {
    cache_object *self = (cache_object *)object;
    attend_arguments a = {.report = {.struct_bytes = sizeof a.report}};
    PyObject *result = NULL;
    if (!cache_begin(self)) return NULL;
    if (open_all(&a, arguments)) {
        long first = PyLong_AsLong(PyTuple_GetItem(arguments, 3));
        if (!PyErr_Occurred() && place_rows(&a, self, first)) {
            shared_pool *pool =
                threads_take(2.0 * a.rows.tokens * fv_cache_tokens(self->cache) * a.rows.heads * a.rows.head_dim);
            if (attend(self, &a, threads_parallel(pool)))
                result = a.call.wants_report ? report_dict(&a.report) : binding_none();
            threads_give(pool);
        }
    }
    cache_end(self);
    tensor_close(&a.query);
    tensor_close(&a.out);
    tensor_close(&a.lse);
    return result;
}
