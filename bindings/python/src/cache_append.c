/* cache_append.c - what changes a cache, and what reads it back: append, truncate, evict, read. */
#include "arrays/array_elements.h"
#include "cache_object.h"
#include "tensor.h"

#define SLICE 256u /* tokens that are widened at a time */

/* Rows of `array` as f32: where they lie, or widened into `buffer`. */
static const float *rows_of(const fv_array *array, uint32_t first, uint32_t count, float *buffer, size_t *stride) {
    const float *rows = fv_array_in_place(array, 0, first);
    *stride = (size_t)array->heads * array->head_dim;
    if (rows && array->token_stride > *stride) *stride = array->token_stride;
    if (rows) return rows;
    fv_array_widen(array, 0, first, count, buffer);
    return buffer;
}

/* All or nothing. Without the GIL. */
static fv_status append(cache_object *self, const fv_array *keys, const fv_array *values, fv_message *message) {
    uint32_t held = fv_cache_tokens(self->cache), tokens = keys->tokens;
    size_t width = (size_t)keys->heads * keys->head_dim;
    fv_status status = fv_array_scan(keys, FV_CACHE_LARGEST, "key", message);
    if (status == FV_OK) status = fv_array_scan(values, FV_CACHE_LARGEST, "value", message);
    if (status == FV_OK && tokens > self->limit - held)
        status =
            fv_message_set(message, FV_ERROR_FULL, "the cache holds %u tokens and has room for %u: %u more do not fit",
                           held, self->limit, tokens);
    if (status == FV_OK) status = cache_hold(self, held + tokens);
    if (status == FV_OK) status = cache_rows(self, 2 * SLICE * width);
    for (uint32_t first = 0, count; status == FV_OK && first < tokens; first += count) {
        size_t key_stride, value_stride;
        count = tokens - first < SLICE ? tokens - first : SLICE;
        const float *key = rows_of(keys, first, count, self->rows, &key_stride);
        const float *value = rows_of(values, first, count, self->rows + SLICE * width, &value_stride);
        status = fv_cache_append(self->cache, count, key, key_stride, value, value_stride);
    }
    if (status != FV_OK) {
        (void)fv_cache_truncate(self->cache, held);
        cache_release(self, held);
    }
    return status;
}

static bool fits(const cache_object *self, const tensor *from, const fv_array *array) {
    char text[TENSOR_TEXT];
    if (array->heads == self->shape.kv_heads && array->head_dim == self->shape.head_dim && array->batches == 1)
        return true;
    PyErr_Format(PyExc_ValueError, "%s; the cache takes one sequence, %u heads of %u elements", tensor_text(from, text),
                 self->shape.kv_heads, self->shape.head_dim);
    return false;
}

static bool open_pair(const cache_object *self, const tensor *k, const tensor *v, bool heads_first, fv_array *keys,
                      fv_array *values) {
    if (!tensor_array(k, heads_first, keys) || !tensor_array(v, heads_first, values) || !fits(self, k, keys) ||
        !fits(self, v, values))
        return false;
    if (keys->tokens == values->tokens) return true;
    PyErr_Format(PyExc_ValueError, "key has %u tokens, value has %u", keys->tokens, values->tokens);
    return false;
}

PyObject *cache_append(PyObject *object, PyObject *arguments) {
    cache_object *self = (cache_object *)object;
    PyObject *key, *value;
    int heads_first;
    tensor k = {0}, v = {0};
    fv_array keys, values;
    fv_message message = {.text = ""};
    fv_status status = FV_OK;
    if (!PyArg_ParseTuple(arguments, "OOp:append", &key, &value, &heads_first)) return NULL;
    bool opened = tensor_open(&k, key, "key", TENSOR_IN) && tensor_open(&v, value, "value", TENSOR_IN) &&
                  open_pair(self, &k, &v, heads_first, &keys, &values) && cache_begin(self);
    if (opened) {
        Py_BEGIN_ALLOW_THREADS;
        status = append(self, &keys, &values, &message);
        Py_END_ALLOW_THREADS;
        cache_end(self);
        if (status != FV_OK) binding_raise(status, &message);
    }
    tensor_close(&k);
    tensor_close(&v);
    return opened && status == FV_OK ? binding_none() : NULL;
}

PyObject *cache_truncate(PyObject *object, PyObject *arguments) {
    cache_object *self = (cache_object *)object;
    unsigned int tokens;
    if (!PyArg_ParseTuple(arguments, "I:truncate", &tokens) || !cache_begin(self)) return NULL;
    uint32_t held = fv_cache_tokens(self->cache);
    fv_status status = fv_cache_truncate(self->cache, tokens);
    if (status == FV_OK) cache_release(self, tokens);
    cache_end(self);
    if (status == FV_OK) Py_RETURN_NONE;
    return PyErr_Format(PyExc_ValueError, "the cache holds %u tokens: it can't be cut to %u", held, tokens);
}

/* One token at a time: `token` is in the cache, for the list is checked and descends. */
PyObject *cache_evict(PyObject *object, PyObject *arguments) {
    cache_object *self = (cache_object *)object;
    PyObject *list;
    if (!PyArg_ParseTuple(arguments, "O!:evict", &PyList_Type, &list) || !cache_begin(self)) return NULL;
    fv_status status = FV_OK;
    for (Py_ssize_t i = 0; status == FV_OK && !PyErr_Occurred() && i < PyList_Size(list); i++) {
        unsigned long token = PyLong_AsUnsignedLong(PyList_GetItem(list, i));
        if (PyErr_Occurred()) break;
        Py_BEGIN_ALLOW_THREADS;
        status = fv_cache_remove(self->cache, token > UINT32_MAX ? UINT32_MAX : (uint32_t)token);
        Py_END_ALLOW_THREADS;
    }
    cache_release(self, fv_cache_tokens(self->cache));
    cache_end(self);
    if (status != FV_OK) return binding_raise(status, NULL);
    return PyErr_Occurred() ? NULL : binding_none();
}

static fv_status read_heads(const cache_object *self, uint32_t first, const fv_array *keys, const fv_array *values) {
    fv_status status = FV_OK;
    for (uint32_t head = 0; status == FV_OK && head < keys->heads; head++)
        status = fv_cache_read(self->cache, head, first, keys->tokens, (float *)keys->data + head * keys->head_stride,
                               (float *)values->data + head * values->head_stride);
    return status;
}

/* (first, keys, values): both f32 [kv_heads][count][head_dim] without gaps, which fovea/_cache.py sees to. */
PyObject *cache_read(PyObject *object, PyObject *arguments) {
    cache_object *self = (cache_object *)object;
    PyObject *key, *value;
    unsigned int first;
    tensor k = {0}, v = {0};
    fv_array keys, values;
    fv_status status = FV_ERROR_ARGUMENT;
    if (!PyArg_ParseTuple(arguments, "IOO:read", &first, &key, &value)) return NULL;
    bool opened = tensor_open(&k, key, "key", TENSOR_OUT) && tensor_open(&v, value, "value", TENSOR_OUT) &&
                  open_pair(self, &k, &v, true, &keys, &values) && cache_begin(self);
    if (opened) {
        if (keys.type == FV_ELEMENT_F32 && values.type == FV_ELEMENT_F32)
            status = read_heads(self, first, &keys, &values);
        cache_end(self);
        if (status != FV_OK) binding_raise(status, NULL);
    }
    tensor_close(&k);
    tensor_close(&v);
    return opened && status == FV_OK ? binding_none() : NULL;
}
