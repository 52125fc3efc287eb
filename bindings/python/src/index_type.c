/* index_type.c - the type _fovea.Index: its threads, what it says of itself, its methods. */
#include "index_object.h"

static _Thread_local const index_object *asking;

const index_object *index_asks(const index_object *self) {
    const index_object *before = asking;
    asking = self;
    return before;
}

bool index_is_ready(const index_object *self) {
    if (self->index && asking != self) return true;
    PyErr_SetString(PyExc_RuntimeError, self->index ? "a filter cannot use the index that it is asked for"
                                                    : "the index was not made: __init__() has not run");
    return false;
}

fv_index_info index_info_of(const index_object *self) {
    fv_index_info info;
    Py_BEGIN_ALLOW_THREADS;
    fv_index_info_get(self->index, &info);
    Py_END_ALLOW_THREADS;
    return info;
}

const fv_parallel *index_threads_take(index_threads *threads, unsigned int count, double work) {
    *threads = (index_threads){NULL, NULL};
    if (count == 0) {
        threads->shared = threads_take(work);
        return threads_parallel(threads->shared);
    }
    if (count == 1 || fv_pool_open(&threads->own, count, NULL) != FV_OK) return NULL; /* no threads to be had */
    return fv_pool_parallel(threads->own);
}

void index_threads_give(index_threads *threads) {
    threads_give(threads->shared);
    fv_pool_close(threads->own);
}

/* Index(dimension, metric, seed, row type, bits to refine by). */
static int index_init(PyObject *object, PyObject *arguments, PyObject *keywords) {
    index_object *self = (index_object *)object;
    unsigned int dimension, metric, row_type, refine;
    unsigned long long seed;
    fv_index_config config;
    fv_message message = {.text = ""};
    if (self->index || (keywords && PyDict_Size(keywords) > 0)) {
        PyErr_SetString(PyExc_TypeError, "an index is made once, with positional arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "IIKII:Index", &dimension, &metric, &seed, &row_type, &refine)) return -1;
    fv_index_config_default(dimension, metric, &config);
    config.seed = seed;
    config.row_type = row_type;
    config.refine_bits = refine;
    fv_status status = fv_index_make(&self->index, &config, &message);
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK ? 0 : -1;
}

static void index_dealloc(PyObject *object) {
    index_object *self = (index_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    fv_index_close(self->index);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *index_info(PyObject *object, void *closure) {
    (void)closure;
    index_object *self = (index_object *)object;
    if (!index_is_ready(self)) return NULL;
    fv_index_info info = index_info_of(self);
    return Py_BuildValue("{sKsKsKsKsIsIsIsIsIsI}", "rows", info.rows, "memory_bytes", info.memory_bytes, "file_bytes",
                         info.file_bytes, "seed", info.seed, "dimension", info.dimension, "metric", info.metric,
                         "degree", info.degree, "version", info.version, "row_type", (unsigned int)info.row_type,
                         "is_lean", (unsigned int)info.is_lean);
}

PyObject *index_type_make(void) {
    static PyMethodDef methods[] = {{"_add", index_add, METH_VARARGS, NULL},
                                    {"_update", index_update, METH_VARARGS, NULL},
                                    {"_remove", index_remove, METH_O, NULL},
                                    {"_link_graph", index_link, METH_VARARGS, NULL},
                                    {"_calibrate", index_calibrate, METH_VARARGS, NULL},
                                    {"_save", index_save, METH_O, NULL},
                                    {"_open", index_open, METH_VARARGS, NULL},
                                    {"_check", index_check, METH_NOARGS, NULL},
                                    {"_vectors", index_vectors, METH_VARARGS, NULL},
                                    {"_contains", index_contains, METH_O, NULL},
                                    {"_nearest", index_nearest, METH_VARARGS, NULL},
                                    {"_within", index_within, METH_VARARGS, NULL},
                                    {NULL, NULL, 0, NULL}};
    static PyGetSetDef properties[] = {{"_info", index_info, NULL, NULL, NULL}, {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {{Py_tp_init, (void *)index_init},
                                  {Py_tp_new, (void *)PyType_GenericNew},
                                  {Py_tp_dealloc, (void *)index_dealloc},
                                  {Py_tp_methods, methods},
                                  {Py_tp_getset, properties},
                                  {0, NULL}};
    static PyType_Spec spec = {"fovea._fovea.Index", sizeof(index_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                               slots};
    return PyType_FromSpec(&spec);
}
