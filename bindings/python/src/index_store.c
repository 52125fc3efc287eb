/* index_store.c - an index in a file, and what it holds under a label. */
#include "index_object.h"
#include "tensor.h"
#include <float.h>
#include <stdlib.h>

static PyObject *outcome(fv_status status, const fv_message *message) {
    return status == FV_OK ? binding_none() : binding_raise(status, message);
}

PyObject *index_save(PyObject *object, PyObject *path) {
    index_object *self = (index_object *)object;
    PyObject *bytes = NULL;
    fv_message message = {.text = ""};
    fv_status status = FV_OK;
    if (!PyUnicode_FSConverter(path, &bytes)) return NULL;
    const char *name = PyBytes_AsString(bytes);
    bool begun = index_is_ready(self);
    if (begun) {
        Py_BEGIN_ALLOW_THREADS;
        status = fv_index_save(self->index, name, &message);
        Py_END_ALLOW_THREADS;
    }
    Py_DECREF(bytes);
    return begun ? outcome(status, &message) : NULL;
}

/* _open(path, whether for change, by a journal) of a new object. */
PyObject *index_open(PyObject *object, PyObject *arguments) {
    index_object *self = (index_object *)object;
    PyObject *path, *bytes = NULL;
    int journal;
    index_threads taken;
    fv_message message = {.text = ""};
    fv_status status;
    fv_index *index = NULL;
    if (!PyArg_ParseTuple(arguments, "Op:open", &path, &journal) || !PyUnicode_FSConverter(path, &bytes)) return NULL;
    const char *name = PyBytes_AsString(bytes);
    const fv_parallel *parallel = index_threads_take(&taken, journal ? 0 : 1, DBL_MAX);
    Py_BEGIN_ALLOW_THREADS;
    status = journal ? fv_index_open_journal(&index, name, parallel, &message) : fv_index_open(&index, name, &message);
    Py_END_ALLOW_THREADS;
    index_threads_give(&taken);
    Py_DECREF(bytes);
    if (status == FV_OK && self->index) { /* it was made, or another thread was faster */
        fv_index_close(index);
        PyErr_SetString(PyExc_TypeError, "an index is opened once");
        return NULL;
    }
    if (status == FV_OK) self->index = index;
    return outcome(status, &message);
}

PyObject *index_check(PyObject *object, PyObject *none) {
    index_object *self = (index_object *)object;
    fv_message message = {.text = ""};
    fv_status status;
    (void)none;
    if (!index_is_ready(self)) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = fv_index_check(self->index, &message);
    Py_END_ALLOW_THREADS;
    return outcome(status, &message);
}

/* Copies vectors of `labels`; *missing: of the first one that is not there. */
static fv_status copy_vectors(const fv_index *index, const tensor *labels, const tensor *out, uint64_t *missing) {
    const uint64_t *label = labels->data;
    float *vector = out->data;
    for (Py_ssize_t i = 0; i < labels->shape[0]; i++) {
        fv_status status = fv_index_vector(index, label[i], vector + i * out->shape[1], NULL);
        if (status == FV_ERROR_ARGUMENT) *missing = label[i];
        if (status != FV_OK) return status;
    }
    return FV_OK;
}

/* _vectors(labels, out): a KeyError for a label that is not there. */
PyObject *index_vectors(PyObject *object, PyObject *arguments) {
    index_object *self = (index_object *)object;
    PyObject *label_array, *out_array;
    tensor labels = {0}, out = {0};
    uint64_t missing = 0;
    fv_status status = FV_OK;
    if (!PyArg_ParseTuple(arguments, "OO:vectors", &label_array, &out_array)) return NULL;
    bool begun = tensor_open_u64(&labels, label_array, "labels", TENSOR_IN) &&
                 tensor_open(&out, out_array, "out", TENSOR_OUT) && index_is_ready(self);
    if (begun) {
        Py_BEGIN_ALLOW_THREADS;
        status = copy_vectors(self->index, &labels, &out, &missing);
        Py_END_ALLOW_THREADS;
    }
    tensor_close(&labels);
    tensor_close(&out);
    if (begun && status == FV_ERROR_ARGUMENT) {
        PyObject *key = PyLong_FromUnsignedLongLong(missing);
        if (key) PyErr_SetObject(PyExc_KeyError, key);
        Py_XDECREF(key);
        return NULL;
    }
    return begun ? outcome(status, NULL) : NULL;
}

PyObject *index_contains(PyObject *object, PyObject *number) {
    index_object *self = (index_object *)object;
    unsigned long long label = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() || !index_is_ready(self)) return NULL;
    fv_index_info info = index_info_of(self);
    float *vector = malloc(info.dimension * sizeof *vector);
    fv_status status = FV_ERROR_MEMORY;
    Py_BEGIN_ALLOW_THREADS;
    if (vector) status = fv_index_vector(self->index, label, vector, NULL);
    Py_END_ALLOW_THREADS;
    free(vector);
    if (status == FV_OK || status == FV_ERROR_ARGUMENT) return PyBool_FromLong(status == FV_OK);
    return binding_raise(status, NULL);
}
