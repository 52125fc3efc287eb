/* engine_text.c - text to ids and back, chats as ids, what a model file says: methods of Engine. Text is bytes here. */
#include "engine_object.h"
#include "fovea/conversation.h"
#include <string.h>

bool engine_ids(PyObject *bytes, const int32_t **ids, size_t *count) {
    char *data;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(bytes, &data, &length) != 0) return false;
    if (length % (Py_ssize_t)sizeof(int32_t) != 0) {
        PyErr_SetString(PyExc_ValueError, "ids are bytes of int32");
        return false;
    }
    *ids = (const int32_t *)(const void *)data; /* objects are aligned to 16, and their bytes to 8 after a header */
    *count = (size_t)length / sizeof(int32_t);
    return true;
}

PyObject *engine_ids_bytes(const int32_t *ids, size_t count) {
    return PyBytes_FromStringAndSize((const char *)ids, (Py_ssize_t)(count * sizeof *ids));
}

static const fv_tokenizer *tokenizer_of(PyObject *object) {
    const engine_object *self = (const engine_object *)object;
    return engine_ready(self) ? fv_llm_tokenizer(fv_engine_llm(self->engine)) : NULL;
}

PyObject *engine_encode(PyObject *object, PyObject *arguments) {
    const fv_tokenizer *tokenizer = tokenizer_of(object);
    const char *text;
    Py_ssize_t length;
    unsigned int flags;
    fv_tokens tokens = {0};
    fv_status status;
    if (!tokenizer || !PyArg_ParseTuple(arguments, "y#I:encode", &text, &length, &flags)) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = fv_tokenizer_encode(tokenizer, text, (size_t)length, flags, &tokens);
    Py_END_ALLOW_THREADS;
    PyObject *ids =
        status == FV_OK ? engine_ids_bytes(tokens.ids ? tokens.ids : (const int32_t[]){0}, tokens.count) : NULL;
    fv_tokens_free(&tokens);
    return status == FV_OK ? ids : binding_raise(status, NULL);
}

static PyObject *text_bytes(fv_status status, fv_text *text) {
    PyObject *bytes = status == FV_OK ? PyBytes_FromStringAndSize(text->bytes, (Py_ssize_t)text->length) : NULL;
    fv_text_free(text);
    if (status == FV_ERROR_ARGUMENT) PyErr_SetString(PyExc_ValueError, "there is no token of that id");
    return status == FV_OK ? bytes : status == FV_ERROR_ARGUMENT ? NULL : binding_raise(status, NULL);
}

PyObject *engine_decode(PyObject *object, PyObject *arguments) {
    const fv_tokenizer *tokenizer = tokenizer_of(object);
    PyObject *bytes;
    int special;
    const int32_t *ids;
    size_t count;
    fv_text text = {0};
    fv_status status;
    if (!tokenizer || !PyArg_ParseTuple(arguments, "Op:decode", &bytes, &special) || !engine_ids(bytes, &ids, &count))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    status = fv_tokenizer_decode(tokenizer, ids, count, special != 0, &text);
    Py_END_ALLOW_THREADS;
    return text_bytes(status, &text);
}

PyObject *engine_piece(PyObject *object, PyObject *arguments) {
    const fv_tokenizer *tokenizer = tokenizer_of(object);
    int id, special;
    fv_text text = {0};
    if (!tokenizer || !PyArg_ParseTuple(arguments, "ip:piece", &id, &special)) return NULL;
    return text_bytes(fv_tokenizer_piece(tokenizer, id, special != 0, &text), &text);
}

PyObject *engine_is_end(PyObject *object, PyObject *argument) {
    const fv_tokenizer *tokenizer = tokenizer_of(object);
    long id = PyLong_AsLong(argument);
    if (!tokenizer || PyErr_Occurred()) return NULL;
    return PyBool_FromLong(id >= 0 && id < fv_tokenizer_tokens(tokenizer) &&
                           fv_tokenizer_is_end(tokenizer, (int32_t)id));
}

/* ---- metadata ---- */

/* A number, a truth value or the bytes of a text; None for an array. */
static PyObject *value_of(const fv_gguf *gguf, const fv_gguf_entry *entry, const char *key) {
    fv_gguf_number number;
    fv_gguf_text text;
    if (entry->type == FV_GGUF_STRING && fv_gguf_string(gguf, key, &text))
        return PyBytes_FromStringAndSize(text.bytes, (Py_ssize_t)text.length);
    if (entry->type == FV_GGUF_ARRAY || !fv_gguf_number_at(entry, 0, &number)) return binding_none();
    if (number.kind == FV_GGUF_FLOAT64) return PyFloat_FromDouble(number.real);
    if (number.kind == FV_GGUF_BOOL) return PyBool_FromLong(number.whole != 0);
    return entry->type == FV_GGUF_UINT64 ? PyLong_FromUnsignedLongLong((uint64_t)number.whole)
                                         : PyLong_FromLongLong(number.whole);
}

PyObject *engine_metadata(PyObject *object, PyObject *arguments) {
    const engine_object *self = (const engine_object *)object;
    (void)arguments;
    if (!engine_ready(self)) return NULL;
    const fv_gguf *gguf = fv_llm_gguf(fv_engine_llm(self->engine));
    PyObject *all = PyDict_New();
    for (size_t i = 0; all && i < fv_gguf_entries(gguf); i++) {
        const fv_gguf_entry *entry = fv_gguf_entry_at(gguf, i);
        PyObject *key = PyBytes_FromStringAndSize(entry->key.bytes, (Py_ssize_t)entry->key.length);
        PyObject *value = key ? value_of(gguf, entry, PyBytes_AsString(key)) : NULL;
        if (!value || PyDict_SetItem(all, key, value) != 0) Py_CLEAR(all);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return all;
}

/* ---- chats ---- */

static fv_status add_turns(fv_conversation *conversation, PyObject *turns) {
    fv_status status = FV_OK;
    for (Py_ssize_t i = 0; status == FV_OK && i < PyTuple_Size(turns); i++) {
        const char *role, *content;
        if (!PyArg_ParseTuple(PyTuple_GetItem(turns, i), "yy", &role, &content)) return FV_ERROR_ARGUMENT; /* raised */
        status = fv_conversation_add(conversation, role, content);
        if (status == FV_ERROR_ARGUMENT)
            PyErr_Format(PyExc_ValueError, "a message's role is system, user or assistant, not %s", role);
    }
    return status;
}

static fv_status family_of(const engine_object *self, const char *name, fv_chat_family *family, fv_message *message) {
    if (name) return fv_chat_family_from_name(name, family, message);
    fv_status status = fv_chat_family_detect(fv_llm_gguf(fv_engine_llm(self->engine)), family, message);
    if (status != FV_OK || *family != FV_CHAT_NONE) return status;
    return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                          "the model's file has no chat template: name one by chat_format, such as \"chatml\"");
}

PyObject *engine_chat(PyObject *object, PyObject *arguments) {
    const engine_object *self = (const engine_object *)object;
    const char *name;
    PyObject *turns;
    fv_chat_family family;
    fv_conversation *conversation = NULL;
    fv_tokens tokens = {0};
    fv_message message = {.text = ""};
    if (!engine_ready(self) || !PyArg_ParseTuple(arguments, "zO!:chat", &name, &PyTuple_Type, &turns)) return NULL;
    const fv_llm *llm = fv_engine_llm(self->engine);
    fv_status status = family_of(self, name, &family, &message);
    if (status == FV_OK) status = fv_conversation_open(&conversation, family, fv_llm_gguf(llm));
    if (status == FV_OK) status = add_turns(conversation, turns);
    if (status == FV_OK) status = fv_conversation_encode(conversation, fv_llm_tokenizer(llm), false, &tokens);
    fv_conversation_close(conversation);
    if (status == FV_ERROR_ARGUMENT && !message.text[0])
        (void)fv_message_set(&message, status, "the chat template can't express the order of these messages");
    PyObject *ids = status == FV_OK ? engine_ids_bytes(tokens.ids, tokens.count) : NULL;
    fv_tokens_free(&tokens);
    if (status != FV_OK && !PyErr_Occurred()) binding_raise(status, &message);
    return ids;
}
