/* dlpack_layout.h - the structs of DLPack 0.x, which a capsule named "dltensor" holds: https://dmlc.github.io/dlpack.
 */
#ifndef FV_DLPACK_LAYOUT_H
#define FV_DLPACK_LAYOUT_H

#include <stdint.h>

enum { DLPACK_CPU = 1, DLPACK_HOST = 3 };     /* kDLCPU, kDLCUDAHost */
enum { DLPACK_FLOAT = 2, DLPACK_BFLOAT = 4 }; /* kDLFloat, kDLBfloat */

typedef struct dlpack_tensor {
    void *data;
    int32_t device_type, device_id, axes;
    uint8_t code, bits;
    uint16_t lanes;
    const int64_t *shape, *strides; /* strides in elements; NULL: no gaps */
    uint64_t byte_offset;
} dlpack_tensor;

typedef struct dlpack_managed {
    dlpack_tensor tensor;
    void *context;
    void (*deleter)(struct dlpack_managed *self); /* called by the capsule, whose name stays as it is */
} dlpack_managed;

#endif
