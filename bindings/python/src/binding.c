/* binding.c - errors as exceptions, the kernels, and the numbers that every call of attention takes. */
#include "binding.h"
#include "fovea/policy_text.h"
#include <stdalign.h>
#include <string.h>

static alignas(64) unsigned char kernels_memory[FV_KERNELS_BYTES];
static const fv_kernels *kernels;

fv_status binding_kernels_init(void) {
    return fv_kernels_init(&kernels, FV_ISA_BEST, kernels_memory, sizeof kernels_memory);
}
const fv_kernels *binding_kernels(void) { return kernels; }

PyObject *binding_raise(fv_status status, const fv_message *message) {
    const char *text = message && message->text[0] ? message->text : fv_status_text(status);
    PyObject *module = PyImport_ImportModule("fovea._errors");
    PyObject *error = module ? PyObject_CallMethod(module, "error", "is", (int)status, text) : NULL;
    if (error) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_XDECREF(error);
    Py_XDECREF(module);
    return NULL;
}

bool binding_policy(binding_call *call, PyObject *text) {
    fv_message message = {.text = ""};
    PyObject *bytes = PyUnicode_AsUTF8String(text);
    if (!bytes) return false;
    const char *from = PyBytes_AsString(bytes);
    size_t length = strlen(from);
    fv_status status = FV_OK;
    if (length >= sizeof call->text || length != (size_t)PyBytes_Size(bytes))
        status =
            fv_message_set(&message, FV_ERROR_POLICY, "a policy is a line of less than %zu bytes", sizeof call->text);
    if (status == FV_OK) {
        memcpy(call->text, from, length + 1);
        status = fv_policy_parse(&call->policy, call->text, &message);
    }
    Py_DECREF(bytes);
    if (status != FV_OK) binding_raise(status, &message);
    return status == FV_OK;
}

bool binding_call_read(binding_call *call, PyObject *arguments, Py_ssize_t first) {
    PyObject *item[7];
    for (Py_ssize_t i = 0; i < 7; i++) {
        item[i] = PyTuple_GetItem(arguments, first + i);
        if (!item[i]) return false;
    }
    if (!binding_policy(call, item[0])) return false;
    call->causal = PyObject_IsTrue(item[1]) == 1;
    double scale = PyFloat_AsDouble(item[2]), softcap = PyFloat_AsDouble(item[3]);
    call->scale = (float)scale;
    call->softcap = (float)softcap;
    unsigned long window = PyLong_AsUnsignedLong(item[4]);
    if (!PyErr_Occurred() && window > UINT32_MAX) PyErr_SetString(PyExc_ValueError, "window: tokens, at most 2^32 - 1");
    call->window = (uint32_t)window;
    call->heads_first = PyObject_IsTrue(item[5]) == 1;
    call->wants_report = PyObject_IsTrue(item[6]) == 1;
    return !PyErr_Occurred();
}
