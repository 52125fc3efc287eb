/* sequence_type.c - the type _fovea.Sequence: one conversation's tokens in the cache of an engine. */
#include "engine_object.h"

static PyTypeObject *sequence_type; /* of the module, for as long as the process lives */

bool sequence_begin(sequence_object *self) {
    if (self->sequence && !self->busy) return self->busy = true;
    PyErr_SetString(PyExc_RuntimeError, self->sequence
                                            ? "the sequence is in use by another thread, or twice in a step: fork it"
                                            : "the sequence was not made: __init__() has not run");
    return false;
}

void sequence_end(sequence_object *self) { self->busy = false; }

sequence_object *sequence_of(PyObject *object, const engine_object *engine) {
    if (!PyObject_TypeCheck(object, sequence_type)) {
        PyErr_SetString(PyExc_TypeError, "a Sequence is wanted");
        return NULL;
    }
    sequence_object *self = (sequence_object *)object;
    if (self->engine == engine) return self;
    PyErr_SetString(PyExc_ValueError, "the sequence is another engine's, or was not made");
    return NULL;
}

static void adopt(sequence_object *self, engine_object *engine, fv_sequence *sequence) {
    Py_INCREF((PyObject *)engine);
    self->engine = engine;
    self->sequence = sequence;
}

/* Sequence(engine, context, attention): context 0 is the engine's, attention None likewise. */
static int sequence_init(PyObject *object, PyObject *arguments, PyObject *keywords) {
    sequence_object *self = (sequence_object *)object;
    PyObject *of, *attention;
    unsigned int context;
    (void)keywords;
    if (self->sequence) {
        PyErr_SetString(PyExc_TypeError, "a sequence is made once");
        return -1;
    }
    if (!PyArg_ParseTuple(arguments, "OIO:Sequence", &of, &context, &attention)) return -1;
    engine_object *engine = engine_of(of);
    if (!engine) return -1;
    fv_session_config config = engine->config;
    if (context > 0) config.context_tokens = context;
    if (attention != Py_None && !engine_policy(engine, attention, &config.policy)) return -1;
    fv_message message = {.text = ""};
    fv_sequence *sequence = NULL;
    fv_status status =
        config.context_tokens > engine->config.context_tokens
            ? fv_message_set(&message, FV_ERROR_ARGUMENT,
                             "a context of %u tokens is more than the engine's: Engine(context=...)",
                             (unsigned)config.context_tokens)
            : fv_sequence_open(&sequence, fv_engine_llm(engine->engine), engine->segments, &config, &message);
    if (status == FV_OK) adopt(self, engine, sequence);
    if (status != FV_OK) binding_raise(status, &message);
    if (status != FV_OK) return -1;
    return message.text[0] ? PyErr_WarnEx(PyExc_RuntimeWarning, message.text, 2) : 0; /* a remark */
}

static void sequence_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    sequence_object *self = (sequence_object *)object;
    fv_sequence_close(self->sequence);
    Py_XDECREF((PyObject *)self->engine);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* _fork(from): a new object becomes its fork. */
static PyObject *sequence_fork(PyObject *object, PyObject *from) {
    sequence_object *self = (sequence_object *)object;
    fv_message message = {.text = ""};
    fv_sequence *fork = NULL;
    if (self->sequence || !PyObject_TypeCheck(from, sequence_type)) {
        PyErr_SetString(PyExc_TypeError, "a new object becomes the fork of a Sequence");
        return NULL;
    }
    sequence_object *of = (sequence_object *)from;
    if (!sequence_begin(of)) return NULL;
    fv_status status = fv_sequence_fork(&fork, of->sequence, &message);
    sequence_end(of);
    if (status != FV_OK) return binding_raise(status, &message);
    adopt(self, of->engine, fork);
    return binding_none();
}

/* _truncate(tokens) -> whether it can: a sliding window may have forgotten what so few tokens need. */
static PyObject *sequence_truncate(PyObject *object, PyObject *argument) {
    sequence_object *self = (sequence_object *)object;
    size_t tokens = PyLong_AsSize_t(argument);
    if (PyErr_Occurred() || !sequence_begin(self)) return NULL;
    fv_status status = fv_sequence_truncate(self->sequence, tokens);
    sequence_end(self);
    if (status == FV_OK || status == FV_ERROR_RANGE) return PyBool_FromLong(status == FV_OK);
    return sequence_raise(self, status, &(fv_message){.text = ""});
}

static PyObject *sequence_set_policy(PyObject *object, PyObject *text) {
    sequence_object *self = (sequence_object *)object;
    fv_policy policy;
    fv_message message = {.text = ""};
    if (!sequence_begin(self)) return NULL;
    bool read = engine_policy(self->engine, text, &policy);
    fv_status status = read ? fv_sequence_set_policy(self->sequence, &policy, &message) : FV_OK;
    sequence_end(self);
    if (!read) return NULL;
    return status == FV_OK ? binding_none() : binding_raise(status, &message);
}

static PyObject *sequence_report_reset(PyObject *object, PyObject *arguments) {
    sequence_object *self = (sequence_object *)object;
    (void)arguments;
    if (!sequence_begin(self)) return NULL;
    fv_sequence_report_reset(self->sequence);
    sequence_end(self);
    return binding_none();
}

static PyObject *sequence_ids(PyObject *object, void *closure) {
    (void)closure;
    sequence_object *self = (sequence_object *)object;
    if (!sequence_begin(self)) return NULL;
    PyObject *ids = engine_ids_bytes(fv_sequence_ids(self->sequence), fv_sequence_tokens(self->sequence));
    sequence_end(self);
    return ids;
}

static PyObject *sequence_report(PyObject *object, void *closure) {
    (void)closure;
    sequence_object *self = (sequence_object *)object;
    if (!sequence_begin(self)) return NULL;
    PyObject *report = report_dict(fv_sequence_report(self->sequence));
    sequence_end(self);
    return report;
}

/* (tokens, context, bytes, bytes of its own, earliest) */
static PyObject *sequence_sizes(PyObject *object, void *closure) {
    (void)closure;
    sequence_object *self = (sequence_object *)object;
    if (!sequence_begin(self)) return NULL;
    const fv_sequence *s = self->sequence;
    PyObject *sizes = Py_BuildValue("(nnKKn)", (Py_ssize_t)fv_sequence_tokens(s),
                                    (Py_ssize_t)fv_sequence_context_tokens(s), (unsigned long long)fv_sequence_bytes(s),
                                    (unsigned long long)fv_sequence_own_bytes(s), (Py_ssize_t)fv_sequence_earliest(s));
    sequence_end(self);
    return sizes;
}

PyObject *sequence_type_make(void) {
    static PyMethodDef methods[] = {{"_feed", sequence_feed, METH_VARARGS, NULL},
                                    {"_fork", sequence_fork, METH_O, NULL},
                                    {"_truncate", sequence_truncate, METH_O, NULL},
                                    {"_set_policy", sequence_set_policy, METH_O, NULL},
                                    {"_report_reset", sequence_report_reset, METH_NOARGS, NULL},
                                    {"_save", sequence_save, METH_VARARGS, NULL},
                                    {"_wake", sequence_wake, METH_VARARGS, NULL},
                                    {NULL, NULL, 0, NULL}};
    static PyGetSetDef properties[] = {{"_ids", sequence_ids, NULL, NULL, NULL},
                                       {"_report", sequence_report, NULL, NULL, NULL},
                                       {"_sizes", sequence_sizes, NULL, NULL, NULL},
                                       {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {{Py_tp_init, (void *)sequence_init},
                                  {Py_tp_new, (void *)PyType_GenericNew},
                                  {Py_tp_dealloc, (void *)sequence_dealloc},
                                  {Py_tp_methods, methods},
                                  {Py_tp_getset, properties},
                                  {0, NULL}};
    static PyType_Spec spec = {"fovea._fovea.Sequence", sizeof(sequence_object), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    sequence_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return (PyObject *)sequence_type;
}
