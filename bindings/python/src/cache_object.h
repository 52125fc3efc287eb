/* cache_object.h - what a Cache of Python's is in C: a cache of segments, their memory, and scratch of attention. */
#ifndef FV_CACHE_OBJECT_H
#define FV_CACHE_OBJECT_H

#include "binding.h"
#include "fovea/attention.h"
#include "fovea/cache.h"

/** One call at a time: `busy` is looked at and set under the GIL, for it is let go while a call works. */
typedef struct cache_object {
    PyObject ob_base;
    fv_cache_config
        shape;       /* max_tokens: what there is room for now; it doubles, for scratch of attention grows with it */
    uint32_t limit;  /* most tokens */
    fv_cache *cache; /* NULL until it is made */
    void *memory;    /* of it, without its segments */
    void **segments; /* [segment_count] of 1,024 tokens each, NULL: not there */
    uint32_t segment_count;
    size_t segment_bytes;
    fv_attention *attention; /* scratch for `config`; NULL: none yet */
    void *attention_memory;
    fv_attention_config config;
    float *rows; /* [row_floats]: rows that have to be widened or narrowed */
    size_t row_floats;
    bool busy;
} cache_object;

/** Marks the cache as in use. False: it is, by another thread, or it was never made: raised. */
bool cache_begin(cache_object *self);
void cache_end(cache_object *self);

/** Gives memory to segments for the first `tokens` tokens, or takes it away from those after them. */
fv_status cache_hold(cache_object *self, uint32_t tokens);
void cache_release(cache_object *self, uint32_t tokens);

/** Makes an empty cache in a new object; what `self` had is given up. shape->max_tokens is the limit,
 * `room` what there is room for at first; 0 is some. */
fv_status cache_make(cache_object *self, const fv_cache_config *shape, uint32_t room);

/** Room for `tokens` at least, or, if `exactly`, no more than a new cache would have for them. Segments stay. */
fv_status cache_room(cache_object *self, uint32_t tokens, bool exactly);

/** Turns on what the policies, a tuple of texts, ask of a cache. False: raised. */
bool cache_needs(PyObject *policies, fv_cache_config *shape);

/** At least `count` floats of scratch. FV_OK, FV_ERROR_MEMORY. */
fv_status cache_rows(cache_object *self, size_t count);

/* The methods, each in the file of its name. Arguments are positional; fovea/_cache.py is what people call. */
PyObject *cache_append(PyObject *self, PyObject *arguments);   /* cache_append.c: (keys, values, heads_first) */
PyObject *cache_attend(PyObject *self, PyObject *arguments);   /* cache_attend.c */
PyObject *cache_evict(PyObject *self, PyObject *arguments);    /* cache_append.c: (tokens, a descending list) */
PyObject *cache_truncate(PyObject *self, PyObject *arguments); /* cache_append.c: (tokens) */
PyObject *cache_read(PyObject *self, PyObject *arguments);     /* cache_append.c: (first, keys, values) */
PyObject *cache_save(PyObject *self, PyObject *arguments);     /* cache_store.c: (path) */
PyObject *cache_wake(PyObject *self, PyObject *arguments);     /* cache_store.c: (path, max_tokens, policies) */

#endif
