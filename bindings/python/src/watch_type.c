/* watch_type.c - the type _fovea.Watch: evaluates tokens of a sequence and says what the last of them read. */
#include "engine_object.h"

static bool watch_begin(watch_object *self) {
    if (self->watch && !self->busy) return self->busy = true;
    PyErr_SetString(PyExc_RuntimeError, "the watch was not made, or is in use by another thread");
    return false;
}

/* Watch(engine) */
static int watch_init(PyObject *object, PyObject *arguments, PyObject *keywords) {
    watch_object *self = (watch_object *)object;
    PyObject *of;
    fv_message message = {.text = ""};
    (void)keywords;
    if (self->watch || !PyArg_ParseTuple(arguments, "O:Watch", &of)) return -1;
    engine_object *engine = engine_of(of);
    if (!engine) return -1;
    fv_status status = engine_stepper_open(engine, &self->stepper, &message);
    if (status == FV_OK)
        status = fv_read_watch_open(&self->watch, self->stepper, fv_engine_llm(engine->engine),
                                    engine->config.context_tokens, fv_engine_threads(engine->engine));
    if (status != FV_OK) {
        binding_raise(status, &message);
        return -1;
    }
    Py_INCREF(of);
    self->engine = engine;
    return 0;
}

static void watch_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    watch_object *self = (watch_object *)object;
    fv_read_watch_close(self->watch);
    fv_stepper_close(self->stepper);
    Py_XDECREF((PyObject *)self->engine);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* All but the last in batches, the last in a step of its own, watched. Without the GIL. */
static fv_status feed(watch_object *self, sequence_object *of, const int32_t *ids, size_t count, bool is_prompt,
                      float *logits, engine_pause *pause) {
    const int32_t *end = ids + count - 1;
    fv_status status = FV_OK;
    size_t row;
    const uint32_t last = 0;
    fv_read_watch_begin(self->watch);
    if (is_prompt)
        status = fv_sequence_feed_prompt(of->sequence, self->stepper, ids, count - 1, 1, engine_goes_on, pause);
    else
        status = fv_sequence_feed(of->sequence, self->stepper, ids, count - 1, engine_goes_on, pause);
    if (status == FV_OK)
        status = fv_read_watch_add(self->watch, of->sequence, (uint32_t)fv_sequence_tokens(of->sequence), &row);
    if (status == FV_OK)
        status = is_prompt ? fv_sequence_feed_prompt(of->sequence, self->stepper, end, 1, 0, engine_goes_on, pause)
                           : fv_sequence_feed(of->sequence, self->stepper, end, 1, engine_goes_on, pause);
    return status == FV_OK ? fv_stepper_logits(self->stepper, &last, 1, logits) : status;
}

/* _feed(sequence, ids, is_prompt) -> the logits of the last token */
static PyObject *watch_feed(PyObject *object, PyObject *arguments) {
    watch_object *self = (watch_object *)object;
    PyObject *sequence, *bytes;
    int is_prompt;
    const int32_t *ids;
    size_t count;
    fv_message message = {.text = ""};
    if (!PyArg_ParseTuple(arguments, "OOp:feed", &sequence, &bytes, &is_prompt) || !engine_ids(bytes, &ids, &count))
        return NULL;
    sequence_object *of = sequence_of(sequence, self->engine);
    if (!of || count == 0) return of ? PyErr_Format(PyExc_ValueError, "there is no token to evaluate") : NULL;
    size_t vocabulary = fv_llm_config(fv_engine_llm(self->engine->engine))->vocabulary;
    PyObject *logits = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(vocabulary * sizeof(float)));
    if (!logits || !watch_begin(self)) return NULL;
    bool begun = sequence_begin(of);
    fv_status status = FV_OK;
    if (begun) {
        engine_pause pause = {PyEval_SaveThread(), false};
        status = feed(self, of, ids, count, is_prompt, (float *)(void *)PyByteArray_AsString(logits), &pause);
        PyEval_RestoreThread(pause.state);
        if (status != FV_OK) sequence_raise(of, status, &message);
        sequence_end(of);
    }
    self->busy = false;
    if (begun && status == FV_OK) return logits;
    Py_DECREF(logits);
    return NULL;
}

/* _pages(pages) -> f32 [pages]: what the last token read */
static PyObject *watch_pages(PyObject *object, PyObject *argument) {
    watch_object *self = (watch_object *)object;
    size_t pages = PyLong_AsSize_t(argument);
    if (PyErr_Occurred() || !watch_begin(self)) return NULL;
    PyObject *shares = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(pages * sizeof(float)));
    fv_status status = shares ? fv_read_watch_pages(self->watch, 0, FV_READ_ALL_LAYERS,
                                                    (float *)(void *)PyByteArray_AsString(shares), pages)
                              : FV_ERROR_MEMORY;
    self->busy = false;
    if (status == FV_OK) return shares;
    Py_XDECREF(shares);
    return PyErr_Occurred() ? NULL : binding_raise(status, NULL);
}

PyObject *watch_type_make(void) {
    static PyMethodDef methods[] = {
        {"_feed", watch_feed, METH_VARARGS, NULL}, {"_pages", watch_pages, METH_O, NULL}, {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {{Py_tp_init, (void *)watch_init},
                                  {Py_tp_new, (void *)PyType_GenericNew},
                                  {Py_tp_dealloc, (void *)watch_dealloc},
                                  {Py_tp_methods, methods},
                                  {0, NULL}};
    static PyType_Spec spec = {"fovea._fovea.Watch", sizeof(watch_object), 0, Py_TPFLAGS_DEFAULT, slots};
    return PyType_FromSpec(&spec);
}
