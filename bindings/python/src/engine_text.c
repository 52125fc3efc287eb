/* engine_text.c - text to ids and back, chats as ids, what a model file says: methods of Engine. Text is bytes here. */
#include "engine_object.h"
#include "fovea/chat.h"
#include "fovea/template.h"
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

#define TURNS_MOST 65536

/* The turns in memory that lives as long as the tuple; NULL: raised. */
static fv_chat_turn *turns_of(PyObject *tuple, size_t *count) {
    *count = (size_t)PyTuple_Size(tuple);
    if (*count < 1 || *count > TURNS_MOST)
        return (void *)PyErr_Format(PyExc_ValueError, "a chat has 1 to %d messages", TURNS_MOST);
    fv_chat_turn *turns = PyMem_Malloc(*count * sizeof *turns);
    if (!turns) return (void *)PyErr_NoMemory();
    for (size_t i = 0; i < *count; i++)
        if (!PyArg_ParseTuple(PyTuple_GetItem(tuple, (Py_ssize_t)i), "yy", &turns[i].role, &turns[i].content)) {
            PyMem_Free(turns);
            return NULL;
        }
    return turns;
}

static fv_status family_of(const engine_object *self, const char *name, fv_chat_family *family, fv_message *message) {
    if (name) return fv_chat_family_from_name(name, family, message);
    fv_status status = fv_chat_family_detect(fv_llm_gguf(fv_engine_llm(self->engine)), family, message);
    if (status != FV_OK || *family != FV_CHAT_NONE) return status;
    return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                          "the model's file has no chat template: name one by chat_format, such as \"chatml\"");
}

/* All turns and the opening of an answer. What stands in them is text: it can't forge a turn. */
static fv_status encode_chat(const fv_llm *llm, fv_chat_family family, const fv_chat_turn *turns, size_t count,
                             fv_tokens *tokens, fv_message *message) {
    const fv_chat_format format = {.gguf = fv_llm_gguf(llm), .family = family, .day = fv_chat_today()};
    fv_text text = {0};
    fv_text_spans contents = {0};
    fv_status status = fv_chat_render_format(&format, turns, count, 0, true, &text, &contents);
    if (status == FV_ERROR_ARGUMENT)
        (void)fv_message_set(message, status,
                             "messages: a role is system, user or assistant, and the chat template can't express every "
                             "order of them");
    if (status == FV_OK)
        status = fv_tokenizer_encode_spans(fv_llm_tokenizer(llm), text.bytes, text.length, &contents,
                                           FV_TOKENIZE_ADD_SPECIAL | FV_TOKENIZE_PARSE_SPECIAL, tokens);
    fv_text_free(&text);
    fv_text_spans_free(&contents);
    return status;
}

PyObject *engine_chat(PyObject *object, PyObject *arguments) {
    const engine_object *self = (const engine_object *)object;
    const char *name;
    PyObject *tuple;
    fv_chat_family family;
    fv_tokens tokens = {0};
    fv_message message = {.text = ""};
    size_t count;
    if (!engine_ready(self) || !PyArg_ParseTuple(arguments, "zO!:chat", &name, &PyTuple_Type, &tuple)) return NULL;
    fv_chat_turn *turns = turns_of(tuple, &count);
    if (!turns) return NULL;
    fv_status status = family_of(self, name, &family, &message);
    if (status == FV_OK) status = encode_chat(fv_engine_llm(self->engine), family, turns, count, &tokens, &message);
    PyMem_Free(turns);
    PyObject *ids = status == FV_OK ? engine_ids_bytes(tokens.ids, tokens.count) : NULL;
    fv_tokens_free(&tokens);
    return status == FV_OK ? ids : binding_raise(status, &message);
}

/* ---- a template of no known family, run ---- */

/* The text of a token, zero-terminated; "" if there is none. */
static const char *token_text(const fv_tokenizer *tokenizer, int32_t id, fv_text *text) {
    if (id < 0 || fv_tokenizer_piece(tokenizer, id, true, text) != FV_OK || !text->bytes) return "";
    return text->bytes;
}

static fv_status run_template(const fv_llm *llm, const fv_template *made, fv_template_input *input, fv_tokens *tokens,
                              fv_message *message) {
    const fv_tokenizer *tokenizer = fv_llm_tokenizer(llm);
    fv_text bos = {0}, eos = {0}, text = {0};
    fv_text_spans contents = {0};
    input->bos = token_text(tokenizer, fv_tokenizer_bos(tokenizer), &bos);
    input->eos = token_text(tokenizer, fv_tokenizer_eos(tokenizer), &eos);
    fv_status status = fv_template_render(made, input, &text, &contents, message);
    const char *bytes = text.bytes ? text.bytes : "";
    bool begun = bos.length > 0 && text.length >= bos.length && memcmp(bytes, bos.bytes, bos.length) == 0;
    uint32_t flags = FV_TOKENIZE_PARSE_SPECIAL | (begun ? 0u : FV_TOKENIZE_ADD_SPECIAL);
    if (status == FV_OK) status = fv_tokenizer_encode_spans(tokenizer, bytes, text.length, &contents, flags, tokens);
    fv_text_free(&bos);
    fv_text_free(&eos);
    fv_text_free(&text);
    fv_text_spans_free(&contents);
    return status;
}

PyObject *engine_template(PyObject *object, PyObject *json) {
    const engine_object *self = (const engine_object *)object;
    fv_template_input input = {.struct_bytes = sizeof input};
    fv_gguf_text text;
    fv_template *made = NULL;
    fv_tokens tokens = {0};
    fv_message message = {.text = ""};
    if (!engine_ready(self) || !(input.json = PyBytes_AsString(json))) return NULL;
    input.json_length = (size_t)PyBytes_Size(json);
    const fv_llm *llm = fv_engine_llm(self->engine);
    fv_status status = fv_gguf_string(fv_llm_gguf(llm), "tokenizer.chat_template", &text)
                           ? fv_template_open(&made, text.bytes, text.length, &message)
                           : fv_message_set(&message, FV_ERROR_UNSUPPORTED, "the model's file has no chat template");
    if (status == FV_OK) status = run_template(llm, made, &input, &tokens, &message);
    fv_template_close(made);
    PyObject *ids = status == FV_OK ? engine_ids_bytes(tokens.ids, tokens.count) : NULL;
    fv_tokens_free(&tokens);
    return status == FV_OK ? ids : binding_raise(status, &message);
}
