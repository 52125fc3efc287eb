/* A quantised matrix is read eight rows at a time: for one token straight from the file's blocks, for more through a panel
 * that all tokens share. Both give the same bits (kernels.h), so a token's numbers do not depend on its batch. */
#include "model/linear.h"
#include "size.h"

enum {
    PANEL_ROWS = 8,
    TASK_PANELS = 8, /* of a task: small enough to balance, large enough to hide the loop's cost */
    TASK_ROWS = PANEL_ROWS * TASK_PANELS,
    DIRECT_TOKENS = 3 /* up to here reading the blocks anew for each token is cheaper than making a panel */
};

/* What a weight type needs; the kernels of one table. */
typedef struct linear_type {
    size_t block_values, block_bytes, group;
    fv_dequant_fn *dequant;
    fv_unpack_fn *unpack; /* NULL: products in f32 */
    fv_product_panel_fn *panel;
    fv_product_rows_fn *rows; /* NULL: the panel does it */
} linear_type;

static fv_product_panel_fn *panel_kernel(const fv_kernels *kernels, size_t group, size_t largest) {
    if (group == 16) return kernels->product_panel_u6;
    return largest <= 15 ? kernels->product_panel_u4 : largest <= 31 ? kernels->product_panel_u5 : kernels->product_panel_u8;
}

static fv_product_rows_fn *rows_kernel(const fv_kernels *kernels, uint32_t type) {
    switch (type) {
    case FV_WEIGHT_Q4_0: return kernels->product_rows_q4_0;
    case FV_WEIGHT_Q4_1: return kernels->product_rows_q4_1;
    case FV_WEIGHT_Q5_0: return kernels->product_rows_q5_0;
    case FV_WEIGHT_Q8_0: return kernels->product_rows_q8_0;
    default: return NULL;
    }
}

static linear_type linear_type_of(const fv_kernels *kernels, uint32_t type) {
    linear_type found = {0};
    switch (type) {
#define LINEAR_CASE(NAME, name, number, values, bytes) \
    case number: \
        found = (linear_type){.block_values = values, .block_bytes = bytes, .dequant = kernels->dequant_##name}; \
        break;
        FV_WEIGHT_LIST(LINEAR_CASE)
#undef LINEAR_CASE
    default: break;
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
    default: break;
    }
    found.rows = rows_kernel(kernels, type);
    return found;
}

bool fv_linear_is_quantized(uint32_t weight_type) {
    return weight_type != FV_WEIGHT_F32 && weight_type != FV_WEIGHT_F16 && weight_type != FV_WEIGHT_BF16;
}

size_t fv_linear_row_bytes(uint32_t weight_type, uint32_t columns) {
    switch (weight_type) {
#define LINEAR_CASE(NAME, name, number, values, bytes) \
    case number: return columns % (values) == 0 ? (size_t)columns / (values) * (bytes) : 0;
        FV_WEIGHT_LIST(LINEAR_CASE)
#undef LINEAR_CASE
    default: return 0;
    }
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
    return (const unsigned char *)weight->data + row * fv_linear_row_bytes(weight->type, weight->columns);
}

void fv_linear_row(const fv_kernels *kernels, const fv_weight *weight, uint32_t row, float *out) {
    linear_type_of(kernels, weight->type).dequant(weight->columns, row_data(weight, row), out);
}

typedef struct linear_call {
    const fv_kernels *kernels;
    const fv_linear_product *products;
    size_t count;
    const fv_linear_input *input;
    unsigned char *scratch;
    size_t worker_bytes;
} linear_call;

static void rows_f32(const linear_call *call, const fv_linear_product *product, const linear_type *type, uint32_t first,
                     uint32_t end, void *scratch) {
    const fv_linear_input *input = call->input;
    for (uint32_t row = first; row < end; row++) {
        const float *values = (const float *)(const void *)row_data(product->weight, row);
        if (product->weight->type != FV_WEIGHT_F32) {
            type->dequant(input->columns, row_data(product->weight, row), scratch);
            values = scratch;
        }
        for (size_t t = 0; t < input->tokens; t++)
            product->out[t * product->out_stride + row] =
                call->kernels->dot_f32(input->columns, values, input->rows + t * input->columns);
    }
}

/* Up to 8 rows through a panel; missing rows of the last panel are zero. */
static void rows_panel(const linear_call *call, const fv_linear_product *product, const linear_type *type, uint32_t first,
                       uint32_t rows, unsigned char *scratch) {
    const fv_linear_input *input = call->input;
    size_t columns = input->columns, groups = columns / type->group;
    uint8_t *quants = scratch, *packed = quants + PANEL_ROWS * columns;
    float *scale = (float *)(void *)(scratch + 2 * PANEL_ROWS * columns), *offset = scale + PANEL_ROWS * groups;
    float *packed_scale = offset + PANEL_ROWS * groups, *packed_offset = packed_scale + PANEL_ROWS * groups;
    for (uint32_t r = 0; r < rows; r++)
        type->unpack(columns, row_data(product->weight, first + r), quants + r * columns, scale + r * groups,
                     offset + r * groups);
    for (size_t i = rows * columns; i < PANEL_ROWS * columns; i++) quants[i] = 0;
    for (size_t i = rows * groups; i < PANEL_ROWS * groups; i++) scale[i] = offset[i] = 0.0f;
    call->kernels->panel_pack(columns, groups, quants, scale, offset, packed, packed_scale, packed_offset);
    fv_panel panel = {packed, packed_scale, packed_offset};
    if (rows == PANEL_ROWS) {
        type->panel(columns, input->tokens, &panel, &input->q8, product->out + first, product->out_stride);
        return;
    }
    for (size_t t = 0; t < input->tokens; t++) {
        float out[PANEL_ROWS];
        fv_q8_rows one = {input->q8.quants + t * columns, input->q8.scale + t * (columns / 32),
                          input->q8.sum16 + t * (columns / 16), input->q8.sum32 + t * (columns / 32)};
        type->panel(columns, 1, &panel, &one, out, PANEL_ROWS);
        for (uint32_t r = 0; r < rows; r++) product->out[t * product->out_stride + first + r] = out[r];
    }
}

static void rows_direct(const linear_call *call, const fv_linear_product *product, const linear_type *type, uint32_t first,
                        uint32_t panels) {
    const fv_linear_input *input = call->input;
    size_t columns = input->columns, row_bytes = fv_linear_row_bytes(product->weight->type, product->weight->columns);
    for (size_t t = 0; t < input->tokens; t++) {
        fv_q8_rows one = {input->q8.quants + t * columns, input->q8.scale + t * (columns / 32),
                          input->q8.sum16 + t * (columns / 16), input->q8.sum32 + t * (columns / 32)};
        type->rows(columns, panels, row_data(product->weight, first), row_bytes, &one,
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
        rows_f32(call, product, &type, first, first + rows, scratch);
        return;
    }
    uint32_t done = 0;
    if (type.rows && call->input->tokens <= DIRECT_TOKENS && rows >= PANEL_ROWS) {
        done = rows / PANEL_ROWS * PANEL_ROWS;
        rows_direct(call, product, &type, first, done / PANEL_ROWS);
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
