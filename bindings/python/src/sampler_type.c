/* sampler_type.c - the type _fovea.Sampler: from logits to the next token. */
#include "engine_object.h"

typedef struct sampler_object {
    PyObject ob_base;
    fv_sampler *sampler; /* NULL until it is made */
    size_t vocabulary;
} sampler_object;

static bool sampler_ready(const sampler_object *self) {
    if (self->sampler) return true;
    PyErr_SetString(PyExc_RuntimeError, "the sampler was not made: __init__() has not run");
    return false;
}

/* Sampler(vocabulary, temperature, top_k, top_p, min_p, repeat_penalty, repeat_last, presence, frequency, seed,
 * context) */
static int sampler_init(PyObject *object, PyObject *arguments, PyObject *keywords) {
    sampler_object *self = (sampler_object *)object;
    fv_sampler_config config;
    fv_message message = {.text = ""};
    (void)keywords;
    fv_sampler_config_default(&config);
    if (self->sampler ||
        !PyArg_ParseTuple(arguments, "IfifffiffII:Sampler", &config.vocabulary, &config.temperature, &config.top_k,
                          &config.top_p, &config.min_p, &config.repeat_penalty, &config.repeat_last_tokens,
                          &config.presence_penalty, &config.frequency_penalty, &config.seed, &config.context_tokens))
        return -1;
    fv_status status = fv_sampler_open(&self->sampler, &config, &message);
    self->vocabulary = config.vocabulary;
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK ? 0 : -1;
}

static void sampler_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    fv_sampler_close(((sampler_object *)object)->sampler);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* _next(logits): bytes or a bytearray of f32 [vocabulary] */
static PyObject *sampler_next(PyObject *object, PyObject *logits) {
    sampler_object *self = (sampler_object *)object;
    bool is_array = PyByteArray_Check(logits);
    Py_ssize_t bytes = is_array ? PyByteArray_Size(logits) : PyBytes_Size(logits);
    if (PyErr_Occurred() || !sampler_ready(self)) return NULL;
    if ((size_t)bytes != self->vocabulary * sizeof(float))
        return PyErr_Format(PyExc_ValueError, "logits are %zu numbers, one for each token", self->vocabulary);
    const void *data = is_array ? PyByteArray_AsString(logits) : PyBytes_AsString(logits);
    return PyLong_FromLong(fv_sampler_next(self->sampler, data));
}

static PyObject *on_token(PyObject *object, PyObject *argument, bool forbids) {
    sampler_object *self = (sampler_object *)object;
    long token = PyLong_AsLong(argument);
    fv_status status = FV_OK;
    if (PyErr_Occurred() || !sampler_ready(self)) return NULL;
    if (token < 0 || (size_t)token >= self->vocabulary)
        return PyErr_Format(PyExc_ValueError, "tokens are 0 to %zu, not %ld", self->vocabulary - 1, token);
    if (forbids)
        status = fv_sampler_forbid(self->sampler, (int32_t)token);
    else
        fv_sampler_accept(self->sampler, (int32_t)token);
    return status == FV_OK ? binding_none() : binding_raise(status, NULL);
}

static PyObject *sampler_accept(PyObject *object, PyObject *token) { return on_token(object, token, false); }
static PyObject *sampler_forbid(PyObject *object, PyObject *token) { return on_token(object, token, true); }

PyObject *sampler_type_make(void) {
    static PyMethodDef methods[] = {{"_next", sampler_next, METH_O, NULL},
                                    {"_accept", sampler_accept, METH_O, NULL},
                                    {"_forbid", sampler_forbid, METH_O, NULL},
                                    {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {{Py_tp_init, (void *)sampler_init},
                                  {Py_tp_new, (void *)PyType_GenericNew},
                                  {Py_tp_dealloc, (void *)sampler_dealloc},
                                  {Py_tp_methods, methods},
                                  {0, NULL}};
    static PyType_Spec spec = {"fovea._fovea.Sampler", sizeof(sampler_object), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    return PyType_FromSpec(&spec);
}
