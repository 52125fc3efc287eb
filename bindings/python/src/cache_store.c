/* cache_store.c - a cache in a file: saved whole or not at all, and read back. */
#include "cache_object.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a cache is woken from. */
typedef struct cache_waking {
    const char *path;
    fv_cache_config needs; /* what its policies ask of it; the rest is of no account */
    uint32_t max_tokens;
} cache_waking;

/* The library moves 256 bytes at a time, mostly in rising order: the C library's buffer makes blocks of them. */
static fv_status store_read(void *context, uint64_t offset, void *bytes, size_t count) {
    FILE *file = context;
    if (fseeko(file, (off_t)offset, SEEK_SET) != 0) return FV_ERROR_FILE;
    size_t found = fread(bytes, 1, count, file);
    if (found < count && ferror(file)) return FV_ERROR_FILE;
    memset((unsigned char *)bytes + found, 0, count - found); /* past the end there are zeros */
    clearerr(file);
    return FV_OK;
}

static fv_status store_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    FILE *file = context;
    if (ftello(file) != (off_t)offset && fseeko(file, (off_t)offset, SEEK_SET) != 0) return FV_ERROR_FILE;
    return fwrite(bytes, 1, count, file) == count ? FV_OK : FV_ERROR_FILE;
}

static fv_status store_sync(void *context) {
    FILE *file = context;
    return fflush(file) == 0 && fsync(fileno(file)) == 0 ? FV_OK : FV_ERROR_FILE;
}

static fv_store store_of(FILE *file) { return (fv_store){file, store_read, store_write, store_sync}; }

static fv_status say_file(fv_message *message, const char *path, const char *what) {
    return fv_message_set(message, FV_ERROR_FILE, "%s: %s: %s", path, what, strerror(errno));
}

/* Into a new file beside `path`, which then takes its name: at any moment there is the old one or the new one. */
static fv_status save(const cache_object *self, const char *path, fv_message *message) {
    char beside[4096];
    if (snprintf(beside, sizeof beside, "%s.%ld.new", path, (long)getpid()) >= (int)sizeof beside)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "the path is too long");
    FILE *file = fopen(beside, "w+b");
    if (!file) return say_file(message, beside, "can't be written");
    fv_store store = store_of(file);
    fv_status status = fv_cache_save(self->cache, &store, NULL);
    if (status == FV_OK) status = store_sync(file);
    if (status == FV_ERROR_FILE) (void)say_file(message, beside, "can't be written");
    if (fclose(file) != 0 && status == FV_OK) status = say_file(message, beside, "can't be written");
    if (status == FV_OK && rename(beside, path) != 0) status = say_file(message, path, "can't be replaced");
    if (status != FV_OK) (void)remove(beside);
    return status;
}

/* The four bytes at `offset`, little-endian as docs/file-formats.md has it; 0 if they are not there. */
static uint32_t word_at(FILE *file, uint64_t offset) {
    unsigned char bytes[4];
    if (store_read(file, offset, bytes, sizeof bytes) != FV_OK) return 0;
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* Tokens that memory must be there for before the file is read: what its headers say, but no more than a file of its
 * length can hold, for a header may be wrong. An element takes more than half a byte. */
static uint32_t tokens_claimed(FILE *file, const fv_cache_config *shape) {
    uint32_t first = word_at(file, 48), second = word_at(file, 4096 + 48), most = first > second ? first : second;
    if (fseeko(file, 0, SEEK_END) != 0) return 0;
    uint64_t fit = (uint64_t)ftello(file) / ((uint64_t)shape->kv_heads * shape->head_dim);
    if (most > fit) most = (uint32_t)fit;
    return most < shape->max_tokens ? most : shape->max_tokens;
}

/* The configuration of the file, with what the policies need beside it; memory for its tokens. */
static fv_status make_as_saved(cache_object *self, FILE *file, const fv_store *store, const cache_waking *from) {
    fv_cache_config saved, shape = from->needs;
    fv_status status = fv_cache_save_shape(store, &saved);
    if (status != FV_OK) return status;
    shape.kv_heads = saved.kv_heads;
    shape.head_dim = saved.head_dim;
    shape.key_type = saved.key_type;
    shape.value_type = saved.value_type;
    shape.landmark_tokens = saved.landmark_tokens;
    shape.max_tokens = from->max_tokens;
    status = cache_make(self, &shape, saved.max_tokens);
    return status == FV_OK ? cache_hold(self, tokens_claimed(file, &saved)) : status;
}

static fv_status wake(cache_object *self, FILE *file, const cache_waking *from, fv_message *message) {
    const char *path = from->path;
    fv_store store = store_of(file);
    fv_status status = make_as_saved(self, file, &store, from);
    if (status == FV_OK) {
        status = fv_cache_restore(self->cache, &store, NULL);
        if (status == FV_ERROR_ARGUMENT) status = FV_ERROR_CORRUPT; /* it is too short for the tokens that it claims */
    }
    if (status == FV_ERROR_CORRUPT)
        return fv_message_set(message, status, "%s: is damaged, or no cache was saved there", path);
    if (status == FV_ERROR_FILE) return say_file(message, path, "can't be read");
    if (status != FV_OK) return fv_message_set(message, status, "%s: %s", path, fv_status_text(status));
    uint32_t tokens = fv_cache_tokens(self->cache);
    if (tokens > self->limit)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%s: holds %u tokens, more than %u", path, tokens,
                              self->limit);
    cache_release(self, tokens);
    return cache_room(self, tokens, true);
}

/* The path as the system has it: bytes, a new reference. */
static PyObject *path_bytes(PyObject *path) {
    PyObject *bytes = NULL;
    return PyUnicode_FSConverter(path, &bytes) ? bytes : NULL;
}

PyObject *cache_save(PyObject *object, PyObject *arguments) {
    cache_object *self = (cache_object *)object;
    PyObject *path;
    fv_message message = {.text = ""};
    fv_status status;
    if (!PyArg_ParseTuple(arguments, "O:save", &path)) return NULL;
    PyObject *bytes = path_bytes(path);
    if (!bytes) return NULL;
    const char *name = PyBytes_AsString(bytes);
    bool begun = cache_begin(self);
    if (begun) {
        Py_BEGIN_ALLOW_THREADS;
        status = save(self, name, &message);
        Py_END_ALLOW_THREADS;
        cache_end(self);
        if (status != FV_OK) binding_raise(status, &message);
    }
    Py_DECREF(bytes);
    return begun && status == FV_OK ? binding_none() : NULL;
}

PyObject *cache_wake(PyObject *object, PyObject *arguments) {
    cache_object *self = (cache_object *)object;
    PyObject *path, *policies;
    cache_waking from = {.path = NULL};
    fv_message message = {.text = ""};
    fv_status status;
    if (!PyArg_ParseTuple(arguments, "OIO!:wake", &path, &from.max_tokens, &PyTuple_Type, &policies)) return NULL;
    fv_cache_config_default(&from.needs);
    if (self->busy || !cache_needs(policies, &from.needs)) return NULL;
    PyObject *bytes = path_bytes(path);
    if (!bytes) return NULL;
    from.path = PyBytes_AsString(bytes);
    self->busy = true;
    Py_BEGIN_ALLOW_THREADS;
    FILE *file = fopen(from.path, "rb");
    status = file ? wake(self, file, &from, &message) : say_file(&message, from.path, "can't be read");
    if (file) (void)fclose(file);
    Py_END_ALLOW_THREADS;
    self->busy = false;
    if (status != FV_OK) binding_raise(status, &message);
    Py_DECREF(bytes);
    return status == FV_OK ? binding_none() : NULL;
}
