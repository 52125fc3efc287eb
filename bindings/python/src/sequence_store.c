/* sequence_store.c - what a sequence has read, in a file: kept, woken, looked at. */
#include "engine_object.h"

/* The path as the system has it: bytes, a new reference. */
static PyObject *path_bytes(PyObject *path) {
    PyObject *bytes = NULL;
    return PyUnicode_FSConverter(path, &bytes) ? bytes : NULL;
}

PyObject *sequence_save(PyObject *object, PyObject *arguments) {
    sequence_object *self = (sequence_object *)object;
    PyObject *path;
    unsigned int end;
    fv_message message = {.text = ""};
    fv_status status = FV_OK;
    if (!PyArg_ParseTuple(arguments, "OI:save", &path, &end)) return NULL;
    PyObject *bytes = path_bytes(path);
    if (!bytes) return NULL;
    const char *name = PyBytes_AsString(bytes);
    bool begun = sequence_begin(self);
    if (begun) {
        Py_BEGIN_ALLOW_THREADS;
        status = fv_sequence_save(self->sequence, name, end, &message);
        Py_END_ALLOW_THREADS;
        sequence_end(self);
    }
    Py_DECREF(bytes);
    if (!begun) return NULL;
    if (status == FV_ERROR_ARGUMENT && !message.text[0])
        (void)fv_message_set(&message, status, "save: the sequence holds no token");
    return status == FV_OK ? binding_none() : binding_raise(status, &message);
}

/* The first `tokens` of the file, at most all. */
static fv_status wake(sequence_object *self, const char *path, size_t tokens, fv_message *message) {
    fv_session_file *file = NULL;
    fv_status status = fv_session_file_open(&file, path, message);
    if (status != FV_OK) return status;
    size_t there = fv_session_file_info(file)->tokens;
    status = fv_sequence_wake(self->sequence, file, tokens && tokens < there ? tokens : there, message);
    fv_session_file_close(file);
    return status;
}

/* _wake(path, tokens): 0 is all. */
PyObject *sequence_wake(PyObject *object, PyObject *arguments) {
    sequence_object *self = (sequence_object *)object;
    PyObject *path;
    Py_ssize_t tokens;
    fv_message message = {.text = ""};
    fv_status status = FV_OK;
    if (!PyArg_ParseTuple(arguments, "On:wake", &path, &tokens)) return NULL;
    PyObject *bytes = path_bytes(path);
    if (!bytes) return NULL;
    const char *name = PyBytes_AsString(bytes);
    bool begun = sequence_begin(self);
    if (begun) {
        Py_BEGIN_ALLOW_THREADS;
        status = wake(self, name, (size_t)tokens, &message);
        Py_END_ALLOW_THREADS;
        sequence_end(self);
    }
    Py_DECREF(bytes);
    if (!begun) return NULL;
    return status == FV_OK ? binding_none() : binding_raise(status, &message);
}

PyObject *session_info(PyObject *module, PyObject *path) {
    fv_session_file *file = NULL;
    fv_message message = {.text = ""};
    (void)module;
    PyObject *bytes = path_bytes(path), *info = NULL;
    if (!bytes) return NULL;
    fv_status status = fv_session_file_open(&file, PyBytes_AsString(bytes), &message);
    Py_DECREF(bytes);
    if (status != FV_OK) return binding_raise(status, &message);
    const fv_session_info *said = fv_session_file_info(file);
    PyObject *ids = engine_ids_bytes(fv_session_file_tokens(file), said->tokens);
    if (ids)
        info = Py_BuildValue("{s:K,s:K,s:I,s:I,s:I,s:s,s:s,s:N}", "identity", (unsigned long long)said->model, "bytes",
                             (unsigned long long)said->file_bytes, "version", (unsigned)said->version, "layers",
                             (unsigned)said->layers, "end", (unsigned)said->end, "model_name", said->model_name,
                             "attention", said->attention, "ids", ids);
    fv_session_file_close(file);
    return info;
}
