/* index_change.c - what changes an index: vectors that come, go or take the place of others, and its graph. */
#include "index_object.h"
#include "tensor.h"

/* Vectors and their labels, as the library takes them. */
typedef struct labelled_rows {
    tensor vectors, labels; /* labels.array NULL: none were given */
    size_t rows;
    uint32_t dimension;
} labelled_rows;

static void rows_close(labelled_rows *rows) {
    tensor_close(&rows->vectors);
    tensor_close(&rows->labels);
}

/* fovea/_index.py makes arrays of two axes without gaps, and one of labels that is as long. False: raised. */
static bool rows_open(labelled_rows *rows, PyObject *vectors, PyObject *labels) {
    *rows = (labelled_rows){.rows = 0};
    bool good = tensor_open(&rows->vectors, vectors, "vectors", TENSOR_IN) &&
                (labels == Py_None || tensor_open_u64(&rows->labels, labels, "labels", TENSOR_IN));
    if (good && (rows->vectors.axes != 2 || rows->vectors.type != FV_ELEMENT_F32 ||
                 rows->vectors.shape[1] > FV_INDEX_DIMENSIONS ||
                 (labels != Py_None && rows->labels.shape[0] != rows->vectors.shape[0]))) {
        PyErr_SetString(PyExc_ValueError, "vectors are rows of f32, with a label each");
        good = false;
    }
    if (good) {
        rows->rows = (size_t)rows->vectors.shape[0];
        rows->dimension = (uint32_t)rows->vectors.shape[1];
    } else {
        rows_close(rows);
    }
    return good;
}

/* Multiplications to code them. */
static double work_of(const labelled_rows *rows) { return (double)rows->rows * rows->dimension * 16; }

static PyObject *outcome(fv_status status, const fv_message *message) {
    return status == FV_OK ? binding_none() : binding_raise(status, message);
}

typedef fv_status change_fn(fv_index *index, const labelled_rows *rows, const fv_parallel *parallel,
                            fv_message *message);

static PyObject *change(PyObject *object, PyObject *arguments, change_fn *what) {
    index_object *self = (index_object *)object;
    PyObject *vectors, *labels;
    unsigned int threads;
    labelled_rows rows;
    index_threads taken;
    fv_message message = {.text = ""};
    fv_status status = FV_OK;
    if (!PyArg_ParseTuple(arguments, "OOI:change", &vectors, &labels, &threads)) return NULL;
    if (!rows_open(&rows, vectors, labels)) return NULL;
    bool begun = index_is_ready(self);
    if (begun) {
        const fv_parallel *parallel = index_threads_take(&taken, threads, work_of(&rows));
        Py_BEGIN_ALLOW_THREADS;
        status = what(self->index, &rows, parallel, &message);
        Py_END_ALLOW_THREADS;
        index_threads_give(&taken);
    }
    rows_close(&rows);
    return begun ? outcome(status, &message) : NULL;
}

static fv_status add(fv_index *index, const labelled_rows *rows, const fv_parallel *parallel, fv_message *message) {
    return fv_index_add(index, rows->rows, rows->dimension, rows->vectors.data, rows->labels.data, parallel, message);
}

PyObject *index_add(PyObject *self, PyObject *arguments) { return change(self, arguments, add); }

static fv_status update(fv_index *index, const labelled_rows *rows, const fv_parallel *parallel, fv_message *message) {
    return fv_index_update(index, rows->rows, rows->dimension, rows->vectors.data, rows->labels.data, parallel,
                           message);
}

PyObject *index_update(PyObject *self, PyObject *arguments) { return change(self, arguments, update); }

PyObject *index_remove(PyObject *object, PyObject *array) {
    index_object *self = (index_object *)object;
    tensor labels;
    fv_message message = {.text = ""};
    fv_status status = FV_OK;
    if (!tensor_open_u64(&labels, array, "labels", TENSOR_IN)) return NULL;
    bool begun = index_is_ready(self);
    if (begun) {
        Py_BEGIN_ALLOW_THREADS;
        status = fv_index_remove(self->index, (size_t)labels.shape[0], labels.data, &message);
        Py_END_ALLOW_THREADS;
    }
    tensor_close(&labels);
    return begun ? outcome(status, &message) : NULL;
}

/* The making of a graph goes on in the thread that called, which has the GIL to be stopped or to tell how far it is. */
typedef struct link_pause {
    const index_object *index;
    PyObject *tells; /* None: nobody */
    PyThreadState *thread;
    bool raised;
} link_pause;

static bool link_goes_on(void *context, size_t done, size_t total) {
    link_pause *pause = context;
    PyEval_RestoreThread(pause->thread);
    pause->raised = PyErr_CheckSignals() != 0;
    if (!pause->raised && pause->tells != Py_None) {
        const index_object *before = index_asks(pause->index);
        PyObject *said = PyObject_CallFunction(pause->tells, "KK", (unsigned long long)done, (unsigned long long)total);
        (void)index_asks(before);
        pause->raised = !said;
        Py_XDECREF(said);
    }
    pause->thread = PyEval_SaveThread();
    return !pause->raised;
}

/* _link_graph(degree, beam, rounds, whether lean, whether only if it is less work, progress, threads); 0: as the
 * library has it. */
PyObject *index_link(PyObject *object, PyObject *arguments) {
    index_object *self = (index_object *)object;
    fv_index_link_config config;
    unsigned int degree, beam, rounds, threads;
    link_pause pause = {.index = self};
    index_threads taken;
    fv_message message = {.text = ""};
    fv_index_link_config_default(&config);
    if (!PyArg_ParseTuple(arguments, "IIIIIOI:link", &degree, &beam, &rounds, &config.lean, &config.if_less,
                          &pause.tells, &threads) ||
        !index_is_ready(self))
        return NULL;
    if (degree) config.degree = degree;
    if (beam) config.beam = beam;
    if (rounds) config.rounds = rounds;
    config.progress = link_goes_on;
    config.progress_context = &pause;
    fv_index_info info = index_info_of(self);
    const fv_parallel *parallel = index_threads_take(&taken, threads, (double)info.rows * info.dimension * config.beam);
    pause.thread = PyEval_SaveThread();
    fv_status status = fv_index_link(self->index, &config, parallel, &message);
    PyEval_RestoreThread(pause.thread);
    index_threads_give(&taken);
    return pause.raised ? NULL : outcome(status, &message);
}

/* _calibrate(queries, threads): no rows are the index's own vectors. */
static fv_status calibrate(fv_index *index, const labelled_rows *rows, const fv_parallel *parallel,
                           fv_message *message) {
    return fv_index_calibrate(index, rows->rows, rows->dimension, rows->vectors.data, parallel, message);
}

PyObject *index_calibrate(PyObject *self, PyObject *arguments) { return change(self, arguments, calibrate); }
