/* cache_type.c - the type _fovea.Cache: its memory, what it says of itself, its methods. */
#include "cache_object.h"
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 4096u /* tokens */

bool cache_begin(cache_object *self) {
    if (self->cache && !self->busy) return self->busy = true;
    PyErr_SetString(PyExc_RuntimeError,
                    self->cache ? "the cache is in use by another thread: give each thread a cache, or take turns"
                                : "the cache was not made: __init__() has not run");
    return false;
}

void cache_end(cache_object *self) { self->busy = false; }

/* A table of room for shape->max_tokens, with the segments and tokens that `self` has. */
static fv_status make_table(cache_object *self, const fv_cache_config *shape) {
    size_t bytes, segment_bytes;
    fv_status status = fv_cache_segments_size(shape, &bytes, &segment_bytes);
    if (status != FV_OK) return status;
    uint32_t count = (shape->max_tokens + FV_SEGMENT_TOKENS - 1) / FV_SEGMENT_TOKENS;
    fv_cache *cache = NULL;
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
    void **segments = calloc(count, sizeof *segments);
    status = memory && segments ? FV_OK : FV_ERROR_MEMORY;
    if (status == FV_OK) status = fv_cache_segments_init(&cache, shape, binding_kernels(), memory, bytes);
    for (uint32_t i = 0; status == FV_OK && i < self->segment_count && i < count; i++) {
        segments[i] = self->segments[i];
        status = fv_cache_segment_set(cache, i, segments[i]);
    }
    if (status == FV_OK && self->cache) status = fv_cache_adopt(cache, fv_cache_tokens(self->cache));
    if (status != FV_OK) {
        free(memory);
        free(segments);
        return status;
    }
    free(self->memory);
    free(self->segments);
    self->memory = memory;
    self->cache = cache;
    self->segments = segments;
    self->segment_count = count;
    self->segment_bytes = segment_bytes;
    self->shape = *shape;
    return FV_OK;
}

fv_status cache_room(cache_object *self, uint32_t tokens, bool exactly) {
    fv_cache_config shape = self->shape;
    if (exactly) shape.max_tokens = ROOM_FIRST;
    while (shape.max_tokens < tokens) shape.max_tokens *= 2; /* below 2^31: tokens are at most 2^30 */
    if (shape.max_tokens > self->limit) shape.max_tokens = self->limit;
    return exactly || shape.max_tokens > self->shape.max_tokens ? make_table(self, &shape) : FV_OK;
}

fv_status cache_hold(cache_object *self, uint32_t tokens) {
    fv_status status = cache_room(self, tokens, false);
    for (uint32_t i = 0; status == FV_OK && i < self->segment_count && (uint64_t)i * FV_SEGMENT_TOKENS < tokens; i++) {
        if (self->segments[i]) continue;
        void *memory = aligned_alloc(FV_CACHE_ALIGN, self->segment_bytes);
        if (!memory) return FV_ERROR_MEMORY;
        memset(memory, 0, self->segment_bytes);
        self->segments[i] = memory;
        status = fv_cache_segment_set(self->cache, i, memory);
    }
    return status;
}

void cache_release(cache_object *self, uint32_t tokens) {
    for (uint32_t i = (tokens + FV_SEGMENT_TOKENS - 1) / FV_SEGMENT_TOKENS; i < self->segment_count; i++) {
        if (!self->segments[i]) continue;
        (void)fv_cache_segment_set(self->cache, i, NULL);
        free(self->segments[i]);
        self->segments[i] = NULL;
    }
}

static void give_up(cache_object *self) {
    for (uint32_t i = 0; i < self->segment_count; i++) free(self->segments[i]);
    free(self->segments);
    free(self->memory);
    free(self->attention_memory);
    free(self->rows);
    self->memory = NULL;
    self->segments = NULL;
    self->segment_count = 0;
    self->cache = NULL;
    self->attention = NULL;
    self->attention_memory = NULL;
    self->rows = NULL;
    self->row_floats = 0;
}

fv_status cache_make(cache_object *self, const fv_cache_config *shape, uint32_t room) {
    fv_cache_config first = *shape;
    size_t bytes, segment_bytes;
    fv_status status = fv_cache_segments_size(shape, &bytes, &segment_bytes); /* the limit is in range, too */
    if (status != FV_OK) return status;
    if (!room) room = shape->max_tokens < ROOM_FIRST ? shape->max_tokens : ROOM_FIRST;
    first.max_tokens = room;
    give_up(self);
    self->limit = shape->max_tokens;
    return make_table(self, &first);
}

fv_status cache_rows(cache_object *self, size_t count) {
    if (self->row_floats >= count) return FV_OK;
    float *rows = realloc(self->rows, count * sizeof *rows);
    if (!rows) return FV_ERROR_MEMORY;
    self->rows = rows;
    self->row_floats = count;
    return FV_OK;
}

bool cache_needs(PyObject *policies, fv_cache_config *shape) {
    for (Py_ssize_t i = 0; i < PyTuple_Size(policies); i++) {
        binding_call call;
        if (!binding_policy(&call, PyTuple_GetItem(policies, i))) return false;
        fv_policy_needs(&call.policy, shape);
    }
    return true;
}

static bool element_of(const char *name, uint32_t *type) {
#define ELEMENT_NAME(NAME, name) #name,
    static const char *const names[] = {FV_ELEMENT_LIST(ELEMENT_NAME)};
#undef ELEMENT_NAME
    for (uint32_t i = 0; i < FV_ELEMENT_COUNT; i++)
        if (strcmp(names[i], name) == 0) {
            *type = i;
            return true;
        }
    PyErr_Format(PyExc_ValueError, "the type of stored elements is f32, f16, bf16, q8_0 or q4_0, not %s", name);
    return false;
}

/* Cache(kv_heads, head_dim, max_tokens, key_type, value_type, policies): a tuple of texts. */
static int cache_init(PyObject *object, PyObject *arguments, PyObject *keywords) {
    cache_object *self = (cache_object *)object;
    fv_cache_config shape;
    const char *key_type, *value_type;
    PyObject *policies;
    fv_cache_config_default(&shape);
    if (self->busy || (keywords && PyDict_Size(keywords) > 0)) {
        PyErr_SetString(PyExc_TypeError, "a cache is made once, with positional arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "IIIssO!:Cache", &shape.kv_heads, &shape.head_dim, &shape.max_tokens, &key_type,
                          &value_type, &PyTuple_Type, &policies) ||
        !element_of(key_type, &shape.key_type) || !element_of(value_type, &shape.value_type))
        return -1;
    if (!cache_needs(policies, &shape)) return -1;
    fv_message message = {.text = ""};
    fv_status status = cache_make(self, &shape, 0);
    if (status == FV_ERROR_ARGUMENT)
        (void)fv_message_set(
            &message, status,
            "a cache has 1 to 1024 KV heads of 1 to 1024 elements and room for 1 to 2^30 tokens, not %u "
            "heads of %u and %u tokens",
            shape.kv_heads, shape.head_dim, shape.max_tokens);
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK ? 0 : -1;
}

static void cache_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    give_up((cache_object *)object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *cache_tokens(PyObject *object, void *closure) {
    (void)closure;
    const cache_object *self = (const cache_object *)object;
    return PyLong_FromUnsignedLong(self->cache ? fv_cache_tokens(self->cache) : 0);
}

static PyObject *cache_bytes(PyObject *object, void *closure) {
    (void)closure;
    const cache_object *self = (const cache_object *)object;
    size_t there = 0;
    for (uint32_t i = 0; i < self->segment_count; i++) there += self->segments[i] ? self->segment_bytes : 0;
    return PyLong_FromSize_t(there);
}

static PyObject *cache_shape(PyObject *object, void *closure) {
    (void)closure;
    const fv_cache_config *shape = &((const cache_object *)object)->shape;
#define ELEMENT_NAME(NAME, name) #name,
    static const char *const names[] = {FV_ELEMENT_LIST(ELEMENT_NAME)};
#undef ELEMENT_NAME
    return Py_BuildValue("(IIIss)", shape->kv_heads, shape->head_dim, ((const cache_object *)object)->limit,
                         names[shape->key_type], names[shape->value_type]);
}

PyObject *cache_type_make(void) {
    static PyMethodDef methods[] = {
        {"_append", cache_append, METH_VARARGS, NULL}, {"_attend", cache_attend, METH_VARARGS, NULL},
        {"_evict", cache_evict, METH_VARARGS, NULL},   {"_truncate", cache_truncate, METH_VARARGS, NULL},
        {"_read", cache_read, METH_VARARGS, NULL},     {"_save", cache_save, METH_VARARGS, NULL},
        {"_wake", cache_wake, METH_VARARGS, NULL},     {NULL, NULL, 0, NULL}};
    static PyGetSetDef properties[] = {{"_tokens", cache_tokens, NULL, NULL, NULL},
                                       {"_bytes", cache_bytes, NULL, NULL, NULL},
                                       {"_shape", cache_shape, NULL, NULL, NULL},
                                       {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {{Py_tp_init, (void *)cache_init},
                                  {Py_tp_new, (void *)PyType_GenericNew},
                                  {Py_tp_dealloc, (void *)cache_dealloc},
                                  {Py_tp_methods, methods},
                                  {Py_tp_getset, properties},
                                  {0, NULL}};
    static PyType_Spec spec = {"fovea._fovea.Cache", sizeof(cache_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                               slots};
    return PyType_FromSpec(&spec);
}
