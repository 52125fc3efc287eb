/* A quantised matrix is read eight rows at a time: for one token straight from packed rows, for more through a panel
 * that all tokens share. Both give the same bits (kernels.h), so a token's numbers do not depend on its batch. */
#include "model/linear.h"
#include "model/packing.h"
#include "size.h"

enum {
    PANEL_ROWS = 8,
    TASK_PANELS = 8, /* of a task: small enough to balance, large enough to hide the loop's cost */
    TASK_ROWS = PANEL_ROWS * TASK_PANELS,
    DIRECT_TOKENS = 3 /* up to here reading packed rows anew for each token is cheaper than making a panel */
};

/* What a weight type needs; the kernels of one table. */
typedef struct linear_type {
    size_t block_values, block_bytes, group;
    fv_dequant_fn *dequant;
    fv_unpack_fn *unpack; /* NULL: products in f32 */
    fv_product_panel_fn *panel;
    fv_panel_unpack_fn *panel_unpack; /* of packed rows */
    fv_product_packed_fn *packed;     /* NULL: the panel does it */
} linear_type;

static fv_product_panel_fn *panel_kernel(const fv_kernels *kernels, size_t group, size_t largest) {
    if (group == 16) return kernels->product_panel_u6;
    return largest <= 15   ? kernels->product_panel_u4
           : largest <= 31 ? kernels->product_panel_u5
                           : kernels->product_panel_u8;
}

#define LINEAR_PACKED_LIST(X) X(Q4_0, q4_0) X(Q4_1, q4_1) X(Q5_0, q5_0) X(Q8_0, q8_0)

static linear_type linear_type_of(const fv_kernels *kernels, uint32_t type) {
    linear_type found = {0};
    switch (type) {
#define LINEAR_CASE(NAME, name, number, values, bytes) \
    case number: \
        found = (linear_type){.block_values = values, .block_bytes = bytes, .dequant = kernels->dequant_##name}; \
        break;
        FV_WEIGHT_LIST(LINEAR_CASE)
#undef LINEAR_CASE
    default:
        break;
    }
    switch (type) {
#define LINEAR_CASE(NAME, name, group_values, largest) \
    case FV_WEIGHT_##NAME: \
        found.group = group_values; \
        found.unpack = kernels->unpack_##name; \
        found.panel = panel_kernel(kernels, group_values, largest); \
        break;
        FV_UNPACK_LIST(LINEAR_CASE)
#undef LINEAR_CASE
    default:
        break;
    }
    switch (type) {
#define LINEAR_CASE(NAME, name) \
    case FV_WEIGHT_##NAME: \
        found.panel_unpack = kernels->panel_unpack_##name; \
        found.packed = kernels->product_packed_##name; \
        break;
        LINEAR_PACKED_LIST(LINEAR_CASE)
#undef LINEAR_CASE
    default:
        break;
    }
    return found;
}

bool fv_linear_is_quantized(uint32_t weight_type) {
    return weight_type != FV_WEIGHT_F32 && weight_type != FV_WEIGHT_F16 && weight_type != FV_WEIGHT_BF16;
}

/* Unpacked rows and the panel made of them: bytes, then scales and offsets in groups of 16 or 32. */
bool fv_linear_scratch_bytes(size_t columns, size_t *bytes) {
    size_t total = 0;
    if (!fv_size_add(&total, columns, 2 * PANEL_ROWS, 64) ||
        !fv_size_add(&total, columns / 16 + 1, 4 * PANEL_ROWS * sizeof(float), 64) ||
        !fv_size_add(&total, columns, sizeof(float), 64))
        return false;
    *bytes = total;
    return true;
}

static const unsigned char *row_data(const fv_weight *weight, uint32_t row) {
    return (const unsigned char *)weight->data + row * fv_weight_row_bytes(weight->type, weight->columns);
}

void fv_linear_row(const fv_kernels *kernels, const fv_weight *weight, uint32_t row, float *out) {
    linear_type type = linear_type_of(kernels, weight->type);
    if (row >= weight->packed) {
        type.dequant(weight->columns, row_data(weight, row), out);
        return;
    }
    for (uint32_t first = 0; first < weight->columns; first += 32) {
        unsigned char block[64];
        fv_weight_unpack_block(weight, row, first / 32, block);
        type.dequant(32, block, out + first);
    }
}

typedef struct linear_call {
    const fv_kernels *kernels;
    const fv_linear_product *products;
    size_t count;
    const fv_linear_input *input;
    unsigned char *scratch;
    size_t worker_bytes;
} linear_call;

static fv_q8_rows q8_row(const fv_linear_input *input, size_t token) {
    size_t columns = input->columns;
    return (fv_q8_rows){input->q8.quants + token * columns, input->q8.scale + token * (columns / 32),
                        input->q8.sum16 + token * (columns / 16), input->q8.sum32 + token * (columns / 32)};
}

static void rows_f32(const linear_call *call, const fv_linear_product *product, uint32_t first, uint32_t end,
                     void *scratch) {
    const fv_linear_input *input = call->input;
    for (uint32_t row = first; row < end; row++) {
        const float *values = (const float *)(const void *)row_data(product->weight, row);
        if (product->weight->type != FV_WEIGHT_F32) {
            fv_linear_row(call->kernels, product->weight, row, scratch);
            values = scratch;
        }
        for (size_t t = 0; t < input->tokens; t++)
            product->out[t * product->out_stride + row] =
                call->kernels->dot_f32(input->columns, values, input->rows + t * input->columns);
    }
}

/* Eight rows of the file's own layout to a panel; missing rows of the last panel are zero. */
static void panel_make(const linear_call *call, const fv_weight *weight, const linear_type *type, uint32_t first,
                       uint32_t rows, uint8_t *out_quants, float *out_scale) {
    size_t columns = weight->columns, groups = columns / type->group;
    uint8_t *quants = out_quants + PANEL_ROWS * columns;
    float *out_offset = out_scale + PANEL_ROWS * groups, *scale = out_offset + PANEL_ROWS * groups;
    float *offset = scale + PANEL_ROWS * groups;
    for (uint32_t r = 0; r < rows; r++)
        type->unpack(columns, row_data(weight, first + r), quants + r * columns, scale + r * groups,
                     offset + r * groups);
    for (size_t i = rows * columns; i < PANEL_ROWS * columns; i++) quants[i] = 0;
    for (size_t i = rows * groups; i < PANEL_ROWS * groups; i++) scale[i] = offset[i] = 0.0f;
    call->kernels->panel_pack(columns, groups, quants, scale, offset, out_quants, out_scale, out_offset);
}

/* Up to 8 rows through a panel. */
static void rows_panel(const linear_call *call, const fv_linear_product *product, const linear_type *type,
                       uint32_t first, uint32_t rows, unsigned char *scratch) {
    const fv_linear_input *input = call->input;
    size_t columns = input->columns, groups = columns / type->group;
    uint8_t *quants = scratch;
    float *scale = (float *)(void *)(scratch + 2 * PANEL_ROWS * columns), *offset = scale + PANEL_ROWS * groups;
    fv_panel panel = {quants, scale, offset};
    if (first < product->weight->packed)
        type->panel_unpack(columns, row_data(product->weight, first), quants, scale, offset);
    else
        panel_make(call, product->weight, type, first, rows, quants, scale);
    if (rows == PANEL_ROWS) {
        type->panel(columns, input->tokens, &panel, &input->q8, product->out + first, product->out_stride);
        return;
    }
    for (size_t t = 0; t < input->tokens; t++) {
        float out[PANEL_ROWS];
        fv_q8_rows one = q8_row(input, t);
        type->panel(columns, 1, &panel, &one, out, PANEL_ROWS);
        for (uint32_t r = 0; r < rows; r++) product->out[t * product->out_stride + first + r] = out[r];
    }
}

static void rows_packed(const linear_call *call, const fv_linear_product *product, const linear_type *type,
                        uint32_t first, uint32_t panels) {
    for (size_t t = 0; t < call->input->tokens; t++) {
        fv_q8_rows one = q8_row(call->input, t);
        type->packed(call->input->columns, panels, row_data(product->weight, first), &one,
                     product->out + t * product->out_stride + first);
    }
}

static size_t product_tasks(const fv_linear_product *product) {
    return ((size_t)product->weight->rows + TASK_ROWS - 1) / TASK_ROWS;
}

static void linear_task(void *context, size_t task, size_t worker) {
    const linear_call *call = context;
    const fv_linear_product *product = call->products;
    while (task >= product_tasks(product)) task -= product_tasks(product++);
    linear_type type = linear_type_of(call->kernels, product->weight->type);
    unsigned char *scratch = call->scratch + worker * call->worker_bytes;
    uint32_t first = (uint32_t)task * TASK_ROWS, left = product->weight->rows - first;
    uint32_t rows = left < TASK_ROWS ? left : TASK_ROWS;
    if (!type.unpack || call->input->exact) {
        rows_f32(call, product, first, first + rows, scratch);
        return;
    }
    uint32_t done = 0;
    if (type.packed && call->input->tokens <= DIRECT_TOKENS && first < product->weight->packed) {
        done = rows / PANEL_ROWS * PANEL_ROWS;
        rows_packed(call, product, &type, first, done / PANEL_ROWS);
    }
    for (; done < rows; done += PANEL_ROWS)
        rows_panel(call, product, &type, first + done, rows - done < PANEL_ROWS ? rows - done : PANEL_ROWS, scratch);
}

void fv_linear_run(const fv_kernels *kernels, const fv_linear_product *products, size_t count,
                   const fv_linear_input *input, const fv_parallel *parallel, void *scratch, size_t worker_bytes) {
    linear_call call = {kernels, products, count, input, scratch, worker_bytes};
    size_t tasks = 0;
    for (size_t i = 0; i < count; i++) tasks += product_tasks(&products[i]);
    fv_parallel_run(parallel, tasks, linear_task, &call);
}
