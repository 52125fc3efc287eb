/* index_query.c - searches of an index: the nearest, or all within a distance, with filters. */
#include "index_object.h"
#include "tensor.h"

/* What results are chosen by, besides distance. At most one of these is there. */
typedef struct label_choice {
    tensor bits;        /* of the library's filter */
    tensor listed;      /* labels, rising, ... */
    bool lists_allowed; /* ... that may be results, or that may not */
    PyObject *function; /* asked for a label; NULL: none */
    const index_object *index;
    PyThreadState *thread; /* while the GIL is let go */
    bool failed;           /* the function raised */
} label_choice;

/* Of a search: what came as arguments, and what it writes. */
typedef struct index_query {
    fv_index_search search;
    tensor queries, labels, distances;
    label_choice choice;
    index_threads threads;
    fv_message message;
} index_query;

static bool is_listed(void *context, uint64_t label) {
    const label_choice *choice = context;
    const uint64_t *labels = choice->listed.data;
    size_t low = 0, high = (size_t)choice->listed.shape[0];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (labels[middle] == label) return choice->lists_allowed;
        if (labels[middle] < label)
            low = middle + 1;
        else
            high = middle;
    }
    return !choice->lists_allowed;
}

/* In the thread that called, for such a search has no others. An exception stays set, and nobody is asked again. */
static bool is_wanted(void *context, uint64_t label) {
    label_choice *choice = context;
    if (choice->failed) return false;
    PyEval_RestoreThread(choice->thread);
    const index_object *before = index_asks(choice->index);
    PyObject *number = PyLong_FromUnsignedLongLong(label);
    PyObject *said = number ? PyObject_CallFunctionObjArgs(choice->function, number, NULL) : NULL;
    int is = said ? PyObject_IsTrue(said) : -1;
    Py_XDECREF(number);
    Py_XDECREF(said);
    (void)index_asks(before);
    choice->failed = is < 0;
    choice->thread = PyEval_SaveThread();
    return is == 1;
}

/* `filter` is None, (bits,), (labels, whether they are allowed), or a function. False: raised. */
static bool choice_open(label_choice *choice, fv_index_search *search, PyObject *filter) {
    if (filter == Py_None) return true;
    if (!PyTuple_Check(filter)) {
        choice->function = filter;
        search->filter = is_wanted;
        search->filter_context = choice;
        return true;
    }
    PyObject *array = PyTuple_GetItem(filter, 0);
    if (!array) return false;
    if (PyTuple_Size(filter) == 1) {
        if (!tensor_open_u64(&choice->bits, array, "filter", TENSOR_IN)) return false;
        search->filter_bits = choice->bits.data;
        search->filter_words = (size_t)choice->bits.shape[0];
        return true;
    }
    choice->lists_allowed = PyObject_IsTrue(PyTuple_GetItem(filter, 1)) == 1;
    search->filter = is_listed;
    search->filter_context = choice;
    return tensor_open_u64(&choice->listed, array, "filter", TENSOR_IN);
}

static bool query_open(index_query *query, index_object *self, PyObject *queries, PyObject *filter) {
    *query = (index_query){.message = {.text = ""}, .choice = {.index = self}};
    if (!tensor_open(&query->queries, queries, "queries", TENSOR_IN)) return false;
    const tensor *from = &query->queries;
    if (from->axes != 2 || from->type != FV_ELEMENT_F32 || from->shape[1] > FV_INDEX_DIMENSIONS) {
        PyErr_SetString(PyExc_ValueError, "queries are rows of f32");
        return false;
    }
    fv_index_search_default((uint32_t)from->shape[1], &query->search);
    query->search.queries = from->data;
    query->search.count = (size_t)from->shape[0];
    return choice_open(&query->choice, &query->search, filter);
}

static void query_close(index_query *query) {
    tensor_close(&query->queries);
    tensor_close(&query->labels);
    tensor_close(&query->distances);
    tensor_close(&query->choice.bits);
    tensor_close(&query->choice.listed);
}

/* With the GIL. A function is asked by one thread, for there is one GIL. Without a graph there is nothing to walk. */
static void get_ready(index_query *query, const index_object *self, unsigned int threads) {
    fv_index_info info = index_info_of(self);
    if (!info.degree) query->search.beam = 0;
    double work = (double)query->search.count * (double)info.rows * info.dimension / 8;
    query->search.parallel = index_threads_take(&query->threads, query->choice.function ? 1 : threads, work);
}

static PyObject *report_of(const fv_index_report *report) {
    return Py_BuildValue("(KKKKKKK)", report->queries, report->codes, report->rows, report->bytes, report->visits,
                         report->walks, report->lists);
}

/* _nearest(queries, k, beam, recall, confidence, filter, threads, labels, distances) -> counters. A recall of 0: as
 * `beam` says. */
PyObject *index_nearest(PyObject *object, PyObject *arguments) {
    index_object *self = (index_object *)object;
    PyObject *queries, *filter, *labels, *distances;
    unsigned int k, beam, threads;
    double recall, confidence;
    index_query query;
    fv_index_report report = {.struct_bytes = sizeof report};
    fv_status status = FV_OK;
    if (!PyArg_ParseTuple(arguments, "OIIddOIOO:nearest", &queries, &k, &beam, &recall, &confidence, &filter, &threads,
                          &labels, &distances))
        return NULL;
    bool begun = query_open(&query, self, queries, filter) &&
                 tensor_open_u64(&query.labels, labels, "labels", TENSOR_OUT) &&
                 tensor_open(&query.distances, distances, "distances", TENSOR_OUT) && index_is_ready(self);
    if (begun) {
        query.search.k = k;
        query.search.beam = beam;
        query.search.recall = (float)recall;
        query.search.confidence = (float)confidence;
        get_ready(&query, self, threads);
        query.choice.thread = PyEval_SaveThread();
        status = fv_index_nearest(self->index, &query.search, query.labels.data, query.distances.data, &report,
                                  &query.message);
        PyEval_RestoreThread(query.choice.thread);
        index_threads_give(&query.threads);
    }
    query_close(&query);
    if (!begun || query.choice.failed) return NULL;
    return status == FV_OK ? report_of(&report) : binding_raise(status, &query.message);
}

/* [(labels, distances), ...] as bytes; NULL: raised. */
static PyObject *hits_list(const fv_index_hits *hits, size_t count) {
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        Py_ssize_t found = (Py_ssize_t)hits[i].count;
        PyObject *labels = PyByteArray_FromStringAndSize((const char *)hits[i].labels, found * 8);
        PyObject *distances = PyByteArray_FromStringAndSize((const char *)hits[i].distances, found * 4);
        PyObject *pair = labels && distances ? PyTuple_Pack(2, labels, distances) : NULL;
        Py_XDECREF(labels);
        Py_XDECREF(distances);
        if (!pair || PyList_SetItem(list, (Py_ssize_t)i, pair) < 0) Py_CLEAR(list);
    }
    return list;
}

static void hits_free(fv_index_hits *hits, size_t count) {
    for (size_t i = 0; hits && i < count; i++) fv_index_hits_free(hits + i);
    PyMem_Free(hits);
}

/* _within(queries, radius, confidence, filter, threads) -> [(labels, distances), ...]. */
PyObject *index_within(PyObject *object, PyObject *arguments) {
    index_object *self = (index_object *)object;
    PyObject *queries, *filter;
    double radius, confidence;
    unsigned int threads;
    index_query query;
    fv_status status = FV_OK;
    if (!PyArg_ParseTuple(arguments, "OddOI:within", &queries, &radius, &confidence, &filter, &threads)) return NULL;
    bool begun = query_open(&query, self, queries, filter) && index_is_ready(self);
    fv_index_hits *hits = begun ? PyMem_Calloc(query.search.count + 1, sizeof *hits) : NULL;
    if (begun && hits) {
        query.search.confidence = (float)confidence;
        get_ready(&query, self, threads);
        query.choice.thread = PyEval_SaveThread();
        status = fv_index_within(self->index, &query.search, (float)radius, hits, NULL, &query.message);
        PyEval_RestoreThread(query.choice.thread);
        index_threads_give(&query.threads);
    }
    size_t count = query.search.count;
    query_close(&query);
    PyObject *result = NULL;
    if (begun && !hits)
        (void)PyErr_NoMemory();
    else if (begun && status != FV_OK)
        (void)binding_raise(status, &query.message);
    else if (begun && !query.choice.failed)
        result = hits_list(hits, count);
    hits_free(hits, count);
    return result;
}
