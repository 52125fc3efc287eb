/* tensor.h - an array of Python's as the library wants it: where it lies, its type, shape and strides. It comes by
 * NumPy's array interface (__array_struct__) or by DLPack, without a copy where elements of the last axis lie side by
 * side. */
#ifndef FV_TENSOR_H
#define FV_TENSOR_H

#include "binding.h"
#include "fovea/array_attention.h"

#define TENSOR_AXES 4

/** References are the tensor's: tensor_close() gives them back. Strides are in elements. */
typedef struct tensor {
    const char *name; /* for messages */
    void *data;
    uint32_t type; /* fv_element */
    int axes;
    Py_ssize_t shape[TENSOR_AXES], strides[TENSOR_AXES];
    bool writable;
    PyObject *array, *capsule;
} tensor;

typedef enum tensor_use { TENSOR_IN, TENSOR_OUT } tensor_use;

/** Opens `array`. An input is copied if its last axis has gaps, a stride is negative or it is not aligned; an output is
 * refused then, as one that is read-only is. False: a TypeError or ValueError is raised, nothing is to be closed. */
bool tensor_open(tensor *out, PyObject *array, const char *name, tensor_use use);
/** Opens an array of NumPy's of uint64, its elements side by side; `type` is of no account then. As above, but nothing
 * is copied. */
bool tensor_open_u64(tensor *out, PyObject *array, const char *name, tensor_use use);
void tensor_close(tensor *out); /* a tensor that was never opened but cleared is allowed */

/** As tokens, heads and elements; three axes, four with batches, or two: of one token. `heads_first`: [head][token].
 * False: raised. */
bool tensor_array(const tensor *from, bool heads_first, fv_array *array);

/** "query: f16 [2, 10, 9, 64]" for messages. */
#define TENSOR_TEXT 160
const char *tensor_text(const tensor *from, char text[TENSOR_TEXT]);

/** Who exports a type that has a faster way than __dlpack__: set_exporter(type, callable), called once for torch. */
PyObject *tensor_set_exporter(PyObject *module, PyObject *arguments);

#endif
