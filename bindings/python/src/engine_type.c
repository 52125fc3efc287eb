/* engine_type.c - the type _fovea.Engine: a model file opened, its settings, what it says of itself. */
#include "engine_object.h"
#include "fovea/policy_text.h"
#include <string.h>

static PyTypeObject *engine_type; /* of the module, for as long as the process lives */

engine_object *engine_of(PyObject *object) {
    if (PyObject_TypeCheck(object, engine_type))
        return engine_ready((engine_object *)object) ? (engine_object *)object : NULL;
    PyErr_SetString(PyExc_TypeError, "an Engine is wanted");
    return NULL;
}

bool engine_ready(const engine_object *self) {
    if (self->engine) return true;
    PyErr_SetString(PyExc_RuntimeError, "the engine was not made: __init__() has not run");
    return false;
}

bool engine_policy(const engine_object *self, PyObject *text, fv_policy *policy) {
    binding_call call;
    fv_message message = {.text = ""};
    bool attached;
    if (!binding_policy(&call, text)) return false;
    fv_status status = fv_engine_tune_attach(self->engine, &call.policy, &attached, &message);
    if (status == FV_OK) *policy = call.policy;
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK;
}

fv_status engine_stepper_open(const engine_object *self, fv_stepper **stepper, fv_message *message) {
    fv_session_config config = self->config;
    if (!fv_policy_is_dynamic(&config.policy)) {
        (void)fv_policy_parse(&config.policy, "fovea", NULL);
        if (fv_stepper_open(stepper, fv_engine_llm(self->engine), &config, fv_engine_pool(self->engine), NULL) == FV_OK)
            return FV_OK;
    }
    return fv_stepper_open(stepper, fv_engine_llm(self->engine), &self->config, fv_engine_pool(self->engine), message);
}

/* ---- making one ---- */

typedef struct engine_arguments {
    PyObject *path, *attention, *tune, *keys; /* bytes, str, bytes or None, tuple of bytes */
    const char *key_type, *value_type;
    unsigned long long limit_bytes;
    fv_engine_config config;
} engine_arguments;

#define KEYS_MOST 64

static bool element_of(const char *name, uint32_t *type) {
    for (uint32_t i = 0; i < FV_ELEMENT_COUNT; i++)
        if (strcmp(fv_element_name(i), name) == 0) {
            *type = i;
            return true;
        }
    PyErr_Format(PyExc_ValueError, "the type of stored elements is f32, f16, bf16, q8_0 or q4_0, not %s", name);
    return false;
}

static bool read_arguments(engine_arguments *a, PyObject *arguments, const char **keys) {
    fv_session_config *session = &a->config.session;
    unsigned int exact;
    fv_engine_config_default(&a->config);
    if (!PyArg_ParseTuple(arguments, "SIIIssUOIIKO!:Engine", &a->path, &a->config.pool.threads,
                          &session->context_tokens, &session->batch_tokens, &a->key_type, &a->value_type, &a->attention,
                          &a->tune, &a->config.repack, &exact, &a->limit_bytes, &PyTuple_Type, &a->keys))
        return false;
    session->exact_activations = exact;
    if (!element_of(a->key_type, &session->key_type) || !element_of(a->value_type, &session->value_type)) return false;
    a->config.model = PyBytes_AsString(a->path);
    if (a->tune != Py_None && !(a->config.tune = PyBytes_AsString(a->tune))) return false;
    Py_ssize_t count = PyTuple_Size(a->keys);
    if (count > KEYS_MOST) {
        PyErr_Format(PyExc_ValueError, "allow_keys: at most %d", KEYS_MOST);
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (!(keys[i] = PyBytes_AsString(PyTuple_GetItem(a->keys, i)))) return false;
    a->config.allowed_keys = keys;
    a->config.allowed_key_count = (uint32_t)count;
    return true;
}

static void give_up(engine_object *self) {
    fv_schedule_close(self->schedule);
    fv_stepper_close(self->together);
    fv_stepper_close(self->stepper);
    fv_segments_close(self->segments);
    if (self->engine) {
        fv_engine_close(self->engine);
        (void)pthread_mutex_destroy(&self->lock);
    }
    self->engine = NULL;
}

/* Sequences have a context of the model's training at most unless more was asked for. */
static int engine_init(PyObject *object, PyObject *arguments, PyObject *keywords) {
    engine_object *self = (engine_object *)object;
    const char *keys[KEYS_MOST];
    engine_arguments a;
    fv_message message = {.text = ""};
    fv_status status;
    (void)keywords;
    if (self->engine) {
        PyErr_SetString(PyExc_TypeError, "an engine is made once");
        return -1;
    }
    if (!read_arguments(&a, arguments, keys)) return -1;
    fv_engine *engine = NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = fv_engine_open(&engine, &a.config, &message);
    Py_END_ALLOW_THREADS;
    if (status == FV_OK) {
        self->engine = engine;
        (void)pthread_mutex_init(&self->lock, NULL);
        self->config = a.config.session;
        if (self->config.context_tokens == 0)
            self->config.context_tokens = fv_llm_config(fv_engine_llm(engine))->cache.max_tokens;
        status = fv_segments_open(&self->segments, a.limit_bytes, &message);
    }
    bool made = status == FV_OK && engine_policy(self, a.attention, &self->config.policy);
    if (status != FV_OK) binding_raise(status, &message);
    if (!made) give_up(self);
    return made ? 0 : -1;
}

static void engine_dealloc(PyObject *object) {
    PyTypeObject *type = Py_TYPE(object);
    give_up((engine_object *)object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* ---- what it says of itself ---- */

static PyObject *remarks_of(const fv_tokenizer *tokenizer) {
    PyObject *list = PyList_New(0);
    const char *remark;
    for (size_t i = 0; list && (remark = fv_tokenizer_remark(tokenizer, i)) != NULL; i++) {
        PyObject *text = PyUnicode_FromString(remark);
        if (!text || PyList_Append(list, text) != 0) Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

static PyObject *engine_info(PyObject *object, void *closure) {
    (void)closure;
    const engine_object *self = (const engine_object *)object;
    if (!engine_ready(self)) return NULL;
    const fv_llm *llm = fv_engine_llm(self->engine);
    const fv_model_config *shape = fv_llm_config(llm);
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(llm);
    PyObject *remarks = remarks_of(tokenizer);
    if (!remarks) return NULL;
    return Py_BuildValue(
        "{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:K,s:K,s:I,s:i,s:i,s:O,s:O,s:K,s:N}", "architecture", fv_llm_architecture(llm),
        "vocabulary", (unsigned)shape->vocabulary, "layers", (unsigned)shape->layers, "embedding",
        (unsigned)shape->width, "trained_context", (unsigned)shape->cache.max_tokens, "context",
        (unsigned)self->config.context_tokens, "batch", (unsigned)self->config.batch_tokens, "parameters",
        (unsigned long long)fv_llm_parameters(llm), "weight_bytes", (unsigned long long)fv_llm_weight_bytes(llm),
        "threads", (unsigned)fv_engine_threads(self->engine), "bos", (int)fv_tokenizer_bos(tokenizer), "eos",
        (int)fv_tokenizer_eos(tokenizer), "adds_bos", fv_tokenizer_adds_bos(tokenizer) ? Py_True : Py_False, "adds_eos",
        fv_tokenizer_adds_eos(tokenizer) ? Py_True : Py_False, "identity", (unsigned long long)fv_llm_identity(llm),
        "remarks", remarks);
}

static PyObject *engine_bytes(PyObject *object, void *closure) {
    (void)closure;
    const engine_object *self = (const engine_object *)object;
    return PyLong_FromUnsignedLongLong(self->segments ? fv_segments_bytes(self->segments) : 0);
}

static PyObject *engine_counts(PyObject *object, void *closure) {
    (void)closure;
    const engine_object *self = (const engine_object *)object;
    fv_schedule_counts counts = {0};
    if (self->schedule) fv_schedule_counts_read(self->schedule, &counts);
    return Py_BuildValue("(KKK)", (unsigned long long)counts.steps, (unsigned long long)counts.rows,
                         (unsigned long long)counts.most_parts);
}

PyObject *engine_type_make(void) {
    static PyMethodDef methods[] = {{"_encode", engine_encode, METH_VARARGS, NULL},
                                    {"_decode", engine_decode, METH_VARARGS, NULL},
                                    {"_piece", engine_piece, METH_VARARGS, NULL},
                                    {"_is_end", engine_is_end, METH_O, NULL},
                                    {"_metadata", engine_metadata, METH_NOARGS, NULL},
                                    {"_chat", engine_chat, METH_VARARGS, NULL},
                                    {"_template", engine_template, METH_O, NULL},
                                    {"_step", engine_step, METH_O, NULL},
                                    {NULL, NULL, 0, NULL}};
    static PyGetSetDef properties[] = {{"_info", engine_info, NULL, NULL, NULL},
                                       {"_bytes", engine_bytes, NULL, NULL, NULL},
                                       {"_counts", engine_counts, NULL, NULL, NULL},
                                       {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {{Py_tp_init, (void *)engine_init},
                                  {Py_tp_new, (void *)PyType_GenericNew},
                                  {Py_tp_dealloc, (void *)engine_dealloc},
                                  {Py_tp_methods, methods},
                                  {Py_tp_getset, properties},
                                  {0, NULL}};
    static PyType_Spec spec = {"fovea._fovea.Engine", sizeof(engine_object), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
    engine_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return (PyObject *)engine_type;
}
