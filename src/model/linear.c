/* A quantised matrix is read eight rows at a time: for a few tokens straight from packed rows, for more through a panel
 * of 32 rows that all tokens share. Both give the same bits (kernels.h): a token's numbers do not depend on its batch.
 */
#include "model/linear.h"
#include "build.h"
#include "kernels/dequant.h"
#include "kernels/unpack.h"
#include "model/packing.h"
#include "numeric/size.h"

#if FV_BUILD_MODEL

enum {
    EIGHT = 8,          /* rows that are packed together */
    WORKER_TASKS = 8,   /* of one token: a task is a few microseconds of reading weights */
    WORKER_PANELS = 32, /* of a prompt: tasks are single panels, unless there are very many */
    EXACT_ROWS = 4      /* of a quantised matrix that are expanded to f32 at once */
};

typedef struct block_type {
    uint32_t type, values; /* fv_weight_type; of a block */
    fv_dequant_fn *dequant;
} block_type;

#define BLOCK_TYPE(NAME, name, number, values, bytes) {number, values, fv_dequant_##name##_scalar},
static const block_type block_types[] = {FV_WEIGHT_BUILT_LIST(BLOCK_TYPE)};
#undef BLOCK_TYPE

typedef struct quant_type {
    uint32_t type, group, largest; /* fv_weight_type; as in fv_panel */
    fv_unpack_fn *unpack;
} quant_type;

#define QUANT_TYPE(NAME, name, group, largest) {FV_WEIGHT_##NAME, group, largest, fv_unpack_##name##_scalar},
static const quant_type quant_types[] = {FV_UNPACK_LIST(QUANT_TYPE)};
#undef QUANT_TYPE

/* What is known of a weight type. */
typedef struct linear_type {
    const block_type *block;
    const quant_type *quant;     /* NULL: products in f32 */
    fv_packed_type packed;       /* FV_PACKED_COUNT: it is never packed */
    fv_product_float_fn *floats; /* of the float types; NULL: the others are expanded first */
} linear_type;

/* `type` is of FV_WEIGHT_LIST. */
static linear_type linear_type_of(const fv_kernels *kernels, uint32_t type) {
    linear_type found = {.block = block_types, .packed = fv_packed_type_of(type)};
    while (found.block->type != type) found.block++;
    for (size_t i = 0; i < sizeof quant_types / sizeof *quant_types; i++)
        if (quant_types[i].type == type) found.quant = &quant_types[i];
    if (type == FV_WEIGHT_F32) found.floats = kernels->product_f32;
    if (type == FV_WEIGHT_F16) found.floats = kernels->product_f16;
    if (type == FV_WEIGHT_BF16) found.floats = kernels->product_bf16;
    return found;
}

/* A panel and eight rows on their way into it: bytes, then scales and offsets in groups of 16 or 32. The rows that
 * exact products expand fit into the same bytes. */
_Static_assert(EXACT_ROWS * sizeof(float) <= FV_PANEL_ROWS + EIGHT, "expanded rows need more than a panel");
_Static_assert(FV_PANEL_ROWS * sizeof(float) <= EIGHT * 32,
               "a token's products with a panel need more than eight rows");
bool fv_linear_scratch_bytes(size_t columns, size_t *bytes) {
    size_t total = 0;
    if (!fv_size_add(&total, columns, FV_PANEL_ROWS + EIGHT, 64) ||
        !fv_size_add(&total, columns / 16 + 1, 2 * (FV_PANEL_ROWS + EIGHT) * sizeof(float), 64))
        return false;
    *bytes = total;
    return true;
}

static const unsigned char *row_data(const fv_weight *weight, uint32_t row) {
    return (const unsigned char *)weight->data + row * fv_weight_row_bytes(weight->type, weight->columns);
}

static void row_expand(const linear_type *type, const fv_weight *weight, uint32_t row, float *out) {
    if (row >= weight->packed) {
        type->block->dequant(weight->columns, row_data(weight, row), out);
        return;
    }
    unsigned char block[FV_PACKED_BLOCK_MOST];
    size_t values = type->block->values;
    for (size_t b = 0; b < weight->columns / values; b++) {
        fv_weight_unpack_block(weight, row, b, block);
        type->block->dequant(values, block, out + b * values);
    }
}

void fv_linear_row(const fv_kernels *kernels, const fv_weight *weight, uint32_t row, float *out) {
    linear_type type = linear_type_of(kernels, weight->type);
    row_expand(&type, weight, row, out);
}

typedef struct linear_call {
    const fv_kernels *kernels;
    const fv_linear_product *products;
    size_t count;
    const fv_linear_input *input;
    unsigned char *scratch;
    size_t worker_bytes;
    uint64_t bytes, tasks; /* of weights, all products; into how many parts */
} linear_call;

static void rows_f32(const linear_call *call, const fv_linear_product *product, const linear_type *type, uint32_t first,
                     uint32_t rows, float *scratch) {
    const fv_linear_input *input = call->input;
    if (type->floats) {
        type->floats(input->columns, rows, input->tokens, row_data(product->weight, first), input->rows,
                     product->out + first, product->out_stride);
        return;
    }
    for (uint32_t done = 0; done < rows; done += EXACT_ROWS) {
        uint32_t some = rows - done < EXACT_ROWS ? rows - done : EXACT_ROWS;
        for (uint32_t r = 0; r < some; r++)
            row_expand(type, product->weight, first + done + r, scratch + (size_t)r * input->columns);
        call->kernels->product_f32(input->columns, some, input->tokens, scratch, input->rows,
                                   product->out + first + done, product->out_stride);
    }
}

/* One worker's scratch while it makes a panel. */
typedef struct panel_room {
    uint8_t *quants, *eight_quants;
    float *scale, *offset, *eight_scale, *eight_offset;
} panel_room;

static panel_room panel_room_of(unsigned char *scratch, size_t columns, size_t groups) {
    panel_room room = {.quants = scratch, .eight_quants = scratch + FV_PANEL_ROWS * columns};
    room.scale = (float *)(void *)(room.eight_quants + EIGHT * columns);
    room.offset = room.scale + FV_PANEL_ROWS * groups;
    room.eight_scale = room.offset + FV_PANEL_ROWS * groups;
    room.eight_offset = room.eight_scale + EIGHT * groups;
    return room;
}

/* Up to eight rows of the file's own layout into a panel's rows from `place` on; missing rows are zero. */
static void eight_make(const linear_call *call, const fv_weight *weight, const linear_type *type, uint32_t first,
                       uint32_t rows, const panel_room *room, size_t place) {
    size_t columns = weight->columns, groups = columns / type->quant->group;
    for (uint32_t r = 0; r < rows; r++)
        type->quant->unpack(columns, row_data(weight, first + r), room->eight_quants + r * columns,
                            room->eight_scale + r * groups, room->eight_offset + r * groups);
    for (size_t i = rows * columns; i < EIGHT * columns; i++) room->eight_quants[i] = 0;
    for (size_t i = rows * groups; i < EIGHT * groups; i++) room->eight_scale[i] = room->eight_offset[i] = 0.0f;
    call->kernels->panel_pack(columns, groups, room->eight_quants, room->eight_scale, room->eight_offset,
                              room->quants + 4 * place, room->scale + place, room->offset + place);
}

static void panel_make(const linear_call *call, const fv_weight *weight, const linear_type *type, uint32_t first,
                       uint32_t rows, const panel_room *room) {
    for (uint32_t place = 0; place < FV_PANEL_ROWS; place += EIGHT) {
        uint32_t row = first + place, left = rows > place ? rows - place : 0;
        if (left && row < weight->packed)
            call->kernels->panel_unpack(type->packed, weight->columns, row_data(weight, row), room->quants + 4 * place,
                                        room->scale + place, room->offset + place);
        else
            eight_make(call, weight, type, row, left < EIGHT ? left : EIGHT, room, place);
    }
}

/* Up to 32 rows through a panel. */
static void rows_panel(const linear_call *call, const fv_linear_product *product, const linear_type *type,
                       uint32_t first, uint32_t rows, unsigned char *scratch) {
    const fv_linear_input *input = call->input;
    panel_room room = panel_room_of(scratch, input->columns, input->columns / type->quant->group);
    fv_panel panel = {room.quants, room.scale, room.offset, type->quant->group, type->quant->largest};
    panel_make(call, product->weight, type, first, rows, &room);
    if (rows == FV_PANEL_ROWS) {
        call->kernels->product_panel(input->columns, input->tokens, &panel, &input->q8, product->out + first,
                                     product->out_stride);
        return;
    }
    float *out = (float *)(void *)room.eight_quants; /* the eight are in the panel */
    for (size_t t = 0; t < input->tokens; t++) {
        fv_q8_rows one = fv_q8_rows_from(&input->q8, input->columns, t);
        call->kernels->product_panel(input->columns, 1, &panel, &one, out, FV_PANEL_ROWS);
        for (uint32_t r = 0; r < rows; r++) product->out[t * product->out_stride + first + r] = out[r];
    }
}

/* False: no kernel of the table knows the type, or a panel is faster. */
static bool rows_packed(const linear_call *call, const fv_linear_product *product, const linear_type *type,
                        uint32_t first, uint32_t eights) {
    const fv_linear_input *input = call->input;
    return call->kernels->product_packed(type->packed, input->columns, eights, row_data(product->weight, first),
                                         input->tokens, &input->q8, product->out + first, product->out_stride);
}

/* Rows that are never divided. */
static uint32_t unit_rows(const fv_linear_input *input) {
    return input->tokens <= FV_PACKED_TOKENS ? (uint32_t)EIGHT : (uint32_t)FV_PANEL_ROWS;
}

static uint64_t product_units(const fv_linear_product *product, uint32_t unit) {
    return ((uint64_t)product->weight->rows + unit - 1) / unit;
}

static uint64_t unit_bytes(const fv_linear_product *product, uint32_t unit) {
    return unit * (uint64_t)fv_weight_row_bytes(product->weight->type, product->weight->columns);
}

/* First unit of a product that lies beyond `bytes` of its weights. */
static uint32_t first_row(const fv_linear_product *product, uint32_t unit, uint64_t bytes) {
    uint64_t size = unit_bytes(product, unit), units = product_units(product, unit), found = (bytes + size - 1) / size;
    uint64_t row = (found < units ? found : units) * unit;
    return row < product->weight->rows ? (uint32_t)row : product->weight->rows;
}

static void product_rows(const linear_call *call, const fv_linear_product *product, uint32_t first, uint32_t rows,
                         unsigned char *scratch) {
    linear_type type = linear_type_of(call->kernels, product->weight->type);
    if (!type.quant || call->input->exact) {
        rows_f32(call, product, &type, first, rows, (float *)(void *)scratch);
        return;
    }
    uint32_t done = 0;
    if (first < product->weight->packed && rows_packed(call, product, &type, first, rows / EIGHT))
        done = rows / EIGHT * EIGHT;
    for (; done < rows; done += FV_PANEL_ROWS)
        rows_panel(call, product, &type, first + done, rows - done < FV_PANEL_ROWS ? rows - done : FV_PANEL_ROWS,
                   scratch);
}

/* Each task has the same share of all the products' bytes, up to a unit of rows. */
static void linear_task(void *context, size_t task, size_t worker) {
    const linear_call *call = (const linear_call *)context;
    uint32_t unit = unit_rows(call->input);
    uint64_t begin = call->bytes * task / call->tasks, end = call->bytes * (task + 1) / call->tasks;
    for (size_t i = 0; i < call->count; i++) {
        const fv_linear_product *product = &call->products[i];
        uint64_t bytes = product_units(product, unit) * unit_bytes(product, unit);
        uint32_t first = first_row(product, unit, begin), last = first_row(product, unit, end);
        if (first < last) product_rows(call, product, first, last - first, call->scratch + worker * call->worker_bytes);
        begin = begin > bytes ? begin - bytes : 0;
        end = end > bytes ? end - bytes : 0;
    }
}

void fv_linear_run(const fv_kernels *kernels, const fv_linear_product *products, size_t count,
                   const fv_linear_input *input, const fv_parallel *parallel, void *scratch, size_t worker_bytes) {
    linear_call call = {kernels, products, count, input, (unsigned char *)scratch, worker_bytes, 0, 0};
    uint32_t unit = unit_rows(input);
    uint64_t units = 0, workers = parallel ? parallel->workers : 1;
    for (size_t i = 0; i < count; i++) {
        units += product_units(&products[i], unit);
        call.bytes += product_units(&products[i], unit) * unit_bytes(&products[i], unit);
    }
    uint64_t most = workers * (unit == EIGHT ? WORKER_TASKS : WORKER_PANELS);
    call.tasks = workers == 1 ? 1 : units < most ? units : most;
    fv_parallel_run(parallel, (size_t)call.tasks, linear_task, &call);
}

#endif
