/* tensor.c - opens arrays of Python. The buffer protocol is in the limited API from Python 3.11 on only, so it is not
 * used: NumPy has __array_struct__, all others __dlpack__. */
#include "tensor.h"
#include "dlpack_layout.h"
#include <stdio.h>
#include <string.h>

/* NumPy's array interface, version 3: what the capsule of __array_struct__ points to. */
typedef struct array_interface {
    int two, axes;
    char kind;
    int element_bytes, flags;
    Py_ssize_t *shape, *strides; /* in bytes */
    void *data;
    PyObject *descr;
} array_interface;

enum { ARRAY_CONTIGUOUS = 0x1, ARRAY_ALIGNED = 0x100, ARRAY_NATIVE = 0x200, ARRAY_WRITABLE = 0x400 };

static PyObject *exporter_type, *exporter; /* torch.Tensor and torch.utils.dlpack.to_dlpack */

PyObject *tensor_set_exporter(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *type, *function;
    if (!PyArg_ParseTuple(arguments, "OO:set_exporter", &type, &function)) return NULL;
    Py_INCREF(type);
    Py_INCREF(function);
    Py_XDECREF(exporter_type);
    Py_XDECREF(exporter);
    exporter_type = type;
    exporter = function;
    Py_RETURN_NONE;
}

static bool refuse_type(const tensor *t, PyObject *array) {
    PyObject *type = PyObject_GetAttrString(array, "dtype");
    if (!type) {
        PyErr_Clear();
        type = PyUnicode_FromString("of another type");
    }
    if (type) {
        PyErr_Format(PyExc_TypeError,
                     "%s: elements are %S; fovea takes float32, float16 and bfloat16 in the machine's byte order",
                     t->name, type);
        Py_DECREF(type);
    }
    return false;
}

static bool refuse_axes(const tensor *t, int axes) {
    PyErr_Format(PyExc_ValueError, "%s has %d axes; fovea takes up to %d", t->name, axes, TENSOR_AXES);
    return false;
}

/* Whether elements of NumPy's kind V are bfloat16, a type that packages add to NumPy. */
static bool is_bfloat16(PyObject *array) {
    PyObject *type = PyObject_GetAttrString(array, "dtype"), *name = type ? PyObject_Str(type) : NULL;
    bool is = name && PyUnicode_CompareWithASCIIString(name, "bfloat16") == 0;
    Py_XDECREF(type);
    Py_XDECREF(name);
    if (!name) PyErr_Clear();
    return is;
}

/* False: raised. *direct: it can be used as it lies. */
static bool read_interface(tensor *t, PyObject *array, bool *direct) {
    const array_interface *from = PyCapsule_GetPointer(t->capsule, NULL);
    if (!from) return false;
    if (from->two != 2) return refuse_type(t, array);
    if (from->axes > TENSOR_AXES) return refuse_axes(t, from->axes);
    if (from->kind == 'f' && from->element_bytes == 4)
        t->type = FV_ELEMENT_F32;
    else if (from->kind == 'f' && from->element_bytes == 2)
        t->type = FV_ELEMENT_F16;
    else if (from->kind == 'V' && from->element_bytes == 2 && is_bfloat16(array))
        t->type = FV_ELEMENT_BF16;
    else
        return refuse_type(t, array);
    if (!(from->flags & ARRAY_NATIVE)) return refuse_type(t, array);
    t->axes = from->axes;
    t->data = from->data;
    t->writable = (from->flags & ARRAY_WRITABLE) != 0;
    *direct = (from->flags & ARRAY_ALIGNED) != 0;
    for (int i = 0; i < t->axes; i++) {
        t->shape[i] = from->shape[i];
        if (from->strides[i] % from->element_bytes) *direct = false;
        t->strides[i] = from->strides[i] / from->element_bytes;
    }
    return true;
}

static bool read_dlpack(tensor *t, PyObject *array, bool *direct) {
    const dlpack_managed *managed = PyCapsule_GetPointer(t->capsule, "dltensor");
    if (!managed) return false;
    const dlpack_tensor *from = &managed->tensor;
    if (from->device_type != DLPACK_CPU && from->device_type != DLPACK_HOST) {
        PyErr_Format(PyExc_TypeError, "%s: is not in the memory of the CPU (DLPack device %d); copy it there first",
                     t->name, (int)from->device_type);
        return false;
    }
    if (from->axes > TENSOR_AXES) return refuse_axes(t, from->axes);
    if (from->code == DLPACK_FLOAT && from->bits == 32 && from->lanes == 1)
        t->type = FV_ELEMENT_F32;
    else if (from->code == DLPACK_FLOAT && from->bits == 16 && from->lanes == 1)
        t->type = FV_ELEMENT_F16;
    else if (from->code == DLPACK_BFLOAT && from->bits == 16 && from->lanes == 1)
        t->type = FV_ELEMENT_BF16;
    else
        return refuse_type(t, array);
    t->axes = from->axes;
    t->data = (char *)from->data + from->byte_offset;
    t->writable = true;
    *direct = (uintptr_t)t->data % (from->bits / 8) == 0;
    Py_ssize_t dense = 1;
    for (int i = t->axes - 1; i >= 0; i--) {
        t->shape[i] = (Py_ssize_t)from->shape[i];
        t->strides[i] = from->strides ? (Py_ssize_t)from->strides[i] : dense;
        dense *= t->shape[i];
    }
    return true;
}

/* A capsule that describes `array`, of one of the two kinds; NULL: raised. */
static PyObject *capsule_of(PyObject *array, const char *name, bool *dlpack) {
    *dlpack = true;
    if ((PyObject *)Py_TYPE(array) == exporter_type) return PyObject_CallFunctionObjArgs(exporter, array, NULL);
    PyObject *capsule = PyObject_GetAttrString(array, "__array_struct__");
    *dlpack = false;
    if (capsule) return capsule;
    PyErr_Clear();
    *dlpack = true;
    if (PyObject_HasAttrString(array, "__dlpack__")) return PyObject_CallMethod(array, "__dlpack__", NULL);
    PyErr_Format(PyExc_TypeError, "%s: is of %R, which is neither a NumPy array nor a tensor with __dlpack__", name,
                 (PyObject *)Py_TYPE(array));
    return NULL;
}

/* The same elements without gaps: NumPy's or torch's own copy. NULL: raised. */
static PyObject *copy_of(PyObject *array, bool dlpack) {
    if (dlpack) return PyObject_CallMethod(array, "contiguous", NULL);
    PyObject *numpy = PyImport_ImportModule("numpy");
    PyObject *copy = numpy ? PyObject_CallMethod(numpy, "ascontiguousarray", "O", array) : NULL;
    Py_XDECREF(numpy);
    return copy;
}

/* There is nothing to read then: tensor_array() says so. */
static bool is_empty(const tensor *t) {
    for (int i = 0; i < t->axes; i++)
        if (t->shape[i] == 0) return true;
    return false;
}

static bool lies_directly(const tensor *t) {
    if (t->axes > 0 && t->shape[t->axes - 1] > 1 && t->strides[t->axes - 1] != 1) return false;
    for (int i = 0; i < t->axes; i++)
        if (t->shape[i] > 1 && t->strides[i] < 0) return false;
    return true;
}

static bool open_as_it_lies(tensor *t, PyObject *array, bool *direct, bool *dlpack) {
    t->capsule = capsule_of(array, t->name, dlpack);
    if (!t->capsule) return false;
    if (!(*dlpack ? read_dlpack(t, array, direct) : read_interface(t, array, direct))) {
        Py_CLEAR(t->capsule);
        return false;
    }
    *direct = is_empty(t) || (*direct && lies_directly(t));
    Py_INCREF(array);
    t->array = array;
    return true;
}

bool tensor_open(tensor *out, PyObject *array, const char *name, tensor_use use) {
    bool direct = false, dlpack = false;
    *out = (tensor){.name = name};
    if (!open_as_it_lies(out, array, &direct, &dlpack)) return false;
    if (direct && (use == TENSOR_IN || out->writable)) return true;
    tensor_close(out);
    if (use == TENSOR_OUT) {
        PyErr_Format(PyExc_ValueError, "%s: must be writable, with the elements of its last axis side by side", name);
        return false;
    }
    PyObject *copy = copy_of(array, dlpack);
    bool opened = copy && open_as_it_lies(out, copy, &direct, &dlpack);
    Py_XDECREF(copy);
    if (opened && !direct) {
        tensor_close(out);
        PyErr_Format(PyExc_ValueError, "%s: no copy of it has the elements of its last axis side by side", name);
    }
    return opened && direct;
}

bool tensor_open_u64(tensor *out, PyObject *array, const char *name, tensor_use use) {
    *out = (tensor){.name = name};
    out->capsule = PyObject_GetAttrString(array, "__array_struct__");
    const array_interface *from = out->capsule ? PyCapsule_GetPointer(out->capsule, NULL) : NULL;
    int needed = ARRAY_CONTIGUOUS | ARRAY_ALIGNED | ARRAY_NATIVE | (use == TENSOR_OUT ? ARRAY_WRITABLE : 0);
    bool good = from && from->two == 2 && from->kind == 'u' && from->element_bytes == 8 && from->axes <= TENSOR_AXES &&
                (from->flags & needed) == needed;
    if (from && !good) PyErr_Format(PyExc_TypeError, "%s: want an array of uint64 without gaps", name);
    if (!good) {
        Py_CLEAR(out->capsule);
        return false;
    }
    out->data = from->data;
    out->axes = from->axes;
    for (int i = 0; i < out->axes; i++) out->shape[i] = from->shape[i];
    out->writable = (from->flags & ARRAY_WRITABLE) != 0;
    Py_INCREF(array);
    out->array = array;
    return true;
}

void tensor_close(tensor *out) {
    Py_CLEAR(out->capsule);
    Py_CLEAR(out->array);
}

const char *tensor_text(const tensor *from, char text[TENSOR_TEXT]) {
    static const char *const types[] = {"f32", "f16", "q8_0", "bf16"};
    size_t used = (size_t)snprintf(text, TENSOR_TEXT, "%s: %s [", from->name, types[from->type]);
    for (int i = 0; i < from->axes && used < TENSOR_TEXT - 24; i++)
        used += (size_t)snprintf(text + used, TENSOR_TEXT - used, "%s%zd", i ? ", " : "", from->shape[i]);
    (void)snprintf(text + used, TENSOR_TEXT - used, "]");
    return text;
}

bool tensor_array(const tensor *from, bool heads_first, fv_array *array) {
    char text[TENSOR_TEXT];
    if (from->axes < 2) {
        PyErr_Format(PyExc_ValueError,
                     "%s; it takes 3 axes, %s, a batch before them, or 2: heads, head_dim of one token",
                     tensor_text(from, text), heads_first ? "heads, tokens, head_dim" : "tokens, heads, head_dim");
        return false;
    }
    for (int i = 0; i < from->axes; i++)
        if (from->shape[i] < 1 || from->shape[i] > (Py_ssize_t)1 << 30) {
            PyErr_Format(PyExc_ValueError, "%s; sizes are 1 to 2^30", tensor_text(from, text));
            return false;
        }
    Py_ssize_t shape[4] = {1, 1, 1, 1}, strides[4] = {0, 0, 0, 0}; /* batch, token, head, element */
    static const int places[2][3][4] = {{{2, 3}, {1, 2, 3}, {0, 1, 2, 3}}, {{2, 3}, {2, 1, 3}, {0, 2, 1, 3}}};
    for (int i = 0; i < from->axes; i++) {
        int place = places[heads_first][from->axes - 2][i];
        shape[place] = from->shape[i];
        strides[place] = from->shape[i] > 1 ? from->strides[i] : 0; /* else it may be anything */
    }
    *array = (fv_array){.data = from->data,
                        .type = from->type,
                        .batches = (uint32_t)shape[0],
                        .tokens = (uint32_t)shape[1],
                        .heads = (uint32_t)shape[2],
                        .head_dim = (uint32_t)shape[3],
                        .batch_stride = (size_t)strides[0],
                        .token_stride = (size_t)strides[1],
                        .head_stride = (size_t)strides[2]};
    return true;
}
