/* The FastGRNN cell. Weights lie transposed, gate and update side by side, so that one element of the input is
 * multiplied with a row of 2 * hidden_dim sums: vectors for the compiler, and each sum adds in the reference's order.
 */
#include "fovea/reference/gate.h"
#include "build.h"
#include "numeric/exp.h"
#include "numeric/root.h"
#include "numeric/size.h"
#include "numeric/splitmix.h"

#if FV_BUILD_GATE

struct fv_gate {
    fv_gate_config config;
    float *weights; /* [input_dim + hidden_dim][2 * hidden_dim]: inputs, then state; gate, then update */
    float *biases;  /* [2 * hidden_dim] */
    float *sums;    /* [2 * hidden_dim] of the step at work */
    float *state;   /* [hidden_dim] of fv_gate_score() */
    float *mean;    /* [input_dim] of fv_gate_score_keys() */
};

typedef struct gate_layout {
    size_t weights, biases, sums, state, mean, bytes; /* offsets in bytes, and all */
} gate_layout;

static bool is_finite(float x) { return x - x == 0.0f; }

static fv_status gate_layout_make(const fv_gate_config *config, gate_layout *out) {
    if (!config || config->input_dim < 1 || config->input_dim > 65536) return FV_ERROR_ARGUMENT;
    if (config->hidden_dim < 1 || config->hidden_dim > 1024 || config->weights > FV_GATE_WEIGHTS_GIVEN)
        return FV_ERROR_ARGUMENT;
    if (!is_finite(config->zeta) || !is_finite(config->nu) || config->reserved != 0) return FV_ERROR_ARGUMENT;
    size_t inputs = config->input_dim, hidden = config->hidden_dim;
    *out = (gate_layout){0};
    fv_size_reserve(&out->bytes, 1, sizeof(fv_gate));
    out->weights = fv_size_reserve(&out->bytes, inputs + hidden, 2 * hidden * sizeof(float));
    out->biases = fv_size_reserve(&out->bytes, 2 * hidden, sizeof(float));
    out->sums = fv_size_reserve(&out->bytes, 2 * hidden, sizeof(float));
    out->state = fv_size_reserve(&out->bytes, hidden, sizeof(float));
    out->mean = fv_size_reserve(&out->bytes, inputs, sizeof(float));
    return out->bytes == SIZE_MAX ? FV_ERROR_OVERFLOW : FV_OK;
}

void fv_gate_config_default(fv_gate_config *config) {
    *config = (fv_gate_config){
        .input_dim = 64, .hidden_dim = 32, .zeta = 1.0f, .nu = 0.0f, .weights = FV_GATE_WEIGHTS_SEEDED, .seed = 0};
}

fv_status fv_gate_size(const fv_gate_config *config, size_t *bytes) {
    gate_layout layout;
    fv_status status = gate_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!bytes) return FV_ERROR_ARGUMENT;
    *bytes = layout.bytes;
    return FV_OK;
}

/* Where a part lies and what shape it has. */
typedef struct gate_view {
    float *first;
    size_t rows, columns; /* element (row, column) is first[column * stride + row] */
    size_t stride;
} gate_view;

static gate_view part_view(const fv_gate *gate, fv_gate_part part) {
    size_t inputs = gate->config.input_dim, hidden = gate->config.hidden_dim, stride = 2 * hidden;
    float *states = gate->weights + inputs * stride;
    switch (part) {
    case FV_GATE_PART_GATE_INPUT:
        return (gate_view){gate->weights, hidden, inputs, stride};
    case FV_GATE_PART_GATE_STATE:
        return (gate_view){states, hidden, hidden, stride};
    case FV_GATE_PART_UPDATE_INPUT:
        return (gate_view){gate->weights + hidden, hidden, inputs, stride};
    case FV_GATE_PART_UPDATE_STATE:
        return (gate_view){states + hidden, hidden, hidden, stride};
    case FV_GATE_PART_GATE_BIAS:
        return (gate_view){gate->biases, hidden, 1, stride};
    case FV_GATE_PART_UPDATE_BIAS:
        return (gate_view){gate->biases + hidden, hidden, 1, stride};
    case FV_GATE_PARTS:
        break;
    }
    return (gate_view){0};
}

/* The published initialiser, operation by operation; `first` tells the matrices apart, badly: a matrix of more than
 * 1000 elements runs into the next one. */
static float reference_weight(float scale, uint32_t index) {
    float r = (float)(index * 2654435761u + 0x9E3779B9u);
    return (r / 4294967296.0f - 0.5f) * 2.0f * scale * 0.1f;
}

/* What is given, or drawn; biases are 0 then. */
static void parts_make(fv_gate *gate, const float *const *parts) {
    float scale = fv_root_f32(2.0f / (float)(gate->config.input_dim + gate->config.hidden_dim));
    uint64_t place = 0, key = fv_splitmix(gate->config.seed, 0);
    for (uint32_t part = 0; part < FV_GATE_PARTS; part++) {
        gate_view view = part_view(gate, (fv_gate_part)part);
        float width = 2.0f * fv_root_f32(6.0f / (float)(view.rows + view.columns));
        const float *given = parts ? parts[part] : NULL;
        uint32_t index = 1000 * part;
        for (size_t row = 0; row < view.rows; row++)
            for (size_t column = 0; column < view.columns; column++, index++, place++) {
                float x = 0.0f;
                if (given)
                    x = *given++;
                else if (part <= FV_GATE_PART_UPDATE_STATE)
                    x = gate->config.weights == FV_GATE_WEIGHTS_REFERENCE
                            ? reference_weight(scale, index)
                            : width * fv_centred_f32(fv_splitmix(key, place));
                view.first[column * view.stride + row] = x;
            }
    }
}

static fv_status parts_check(const fv_gate *shape, const float *const *parts) {
    if (!parts) return FV_ERROR_ARGUMENT;
    for (int part = 0; part < FV_GATE_PARTS; part++) {
        gate_view view = part_view(shape, (fv_gate_part)part);
        if (!parts[part]) return FV_ERROR_ARGUMENT;
        for (size_t i = 0; i < view.rows * view.columns; i++)
            if (!is_finite(parts[part][i])) return FV_ERROR_NOT_FINITE;
    }
    return FV_OK;
}

fv_status fv_gate_init(fv_gate **gate, const fv_gate_config *config, const float *const *parts, void *memory,
                       size_t bytes) {
    gate_layout layout;
    fv_status status = gate_layout_make(config, &layout);
    if (status != FV_OK) return status;
    if (!gate) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < layout.bytes || (uintptr_t)memory % FV_GATE_ALIGN != 0) return FV_ERROR_MEMORY;
    unsigned char *base = (unsigned char *)memory;
    fv_gate made = {.config = *config,
                    .weights = (float *)(void *)(base + layout.weights),
                    .biases = (float *)(void *)(base + layout.biases),
                    .sums = (float *)(void *)(base + layout.sums),
                    .state = (float *)(void *)(base + layout.state),
                    .mean = (float *)(void *)(base + layout.mean)};
    bool given = config->weights == FV_GATE_WEIGHTS_GIVEN;
    status = given ? parts_check(&made, parts) : FV_OK;
    if (status != FV_OK) return status;
    parts_make(&made, given ? parts : NULL);
    *gate = (fv_gate *)memory;
    **gate = made;
    return FV_OK;
}

const fv_gate_config *fv_gate_shape(const fv_gate *gate) { return &gate->config; }

fv_status fv_gate_read(const fv_gate *gate, fv_gate_part part, float *out) {
    if (!gate || (unsigned)part >= FV_GATE_PARTS || !out) return FV_ERROR_ARGUMENT;
    gate_view view = part_view(gate, part);
    for (size_t row = 0; row < view.rows; row++)
        for (size_t column = 0; column < view.columns; column++) *out++ = view.first[column * view.stride + row];
    return FV_OK;
}

/* A NaN stays one; fv_exp_f32() would lose it. */
static float sigmoid(float x) { return x == x ? 1.0f / (1.0f + fv_exp_f32(-x)) : x; }

/* Cephes' tanhf: 2 ulp. */
static float tangent(float x) {
    float magnitude = x < 0.0f ? -x : x;
    if (!(magnitude >= 0.625f)) {
        float z = x * x;
        float p = -5.70498872745e-3f;
        p = p * z + 2.06390887954e-2f;
        p = p * z - 5.37397155531e-2f;
        p = p * z + 1.33314422036e-1f;
        p = p * z - 3.33332819422e-1f;
        return p * z * x + x;
    }
    float y = 1.0f - 2.0f / (fv_exp_f32(2.0f * magnitude) + 1.0f);
    return x < 0.0f ? -y : y;
}

/* sums[r] += x[i] * weights[i][r] for i ascending */
static void sums_add(size_t n, size_t rows, const float *restrict x, const float *restrict weights,
                     float *restrict sums) {
    for (size_t i = 0; i < n; i++, weights += rows)
        for (size_t r = 0; r < rows; r++) sums[r] += x[i] * weights[r];
}

static float cell(const fv_gate *gate, const float *input, const float *hidden, float *next) {
    size_t inputs = gate->config.input_dim, count = gate->config.hidden_dim;
    float *sums = gate->sums, square = 0.0f;
    for (size_t r = 0; r < 2 * count; r++) sums[r] = 0.0f;
    sums_add(inputs, 2 * count, input, gate->weights, sums);
    sums_add(count, 2 * count, hidden, gate->weights + inputs * 2 * count, sums);
    for (size_t r = 0; r < count; r++) {
        float keep = gate->config.zeta * sigmoid(sums[r] + gate->biases[r]) + gate->config.nu;
        float update = tangent(sums[count + r] + gate->biases[count + r]);
        keep = keep < 0.0f ? 0.0f : keep > 1.0f ? 1.0f : keep;
        next[r] = keep * hidden[r] + (1.0f - keep) * update;
        square += next[r] * next[r];
    }
    return fv_root_f32(square);
}

fv_status fv_gate_step(fv_gate *gate, const float *input, const float *hidden, float *next, float *salience) {
    if (!gate || !input || !hidden || !next || !salience) return FV_ERROR_ARGUMENT;
    *salience = cell(gate, input, hidden, next);
    return FV_OK;
}

static void state_clear(fv_gate *gate) {
    for (size_t r = 0; r < gate->config.hidden_dim; r++) gate->state[r] = 0.0f;
}

fv_status fv_gate_score(fv_gate *gate, uint32_t tokens, const float *inputs, size_t stride, float *salience) {
    if (!gate || stride < gate->config.input_dim) return FV_ERROR_ARGUMENT;
    if (tokens != 0 && (!inputs || !salience)) return FV_ERROR_ARGUMENT;
    state_clear(gate);
    for (size_t t = 0; t < tokens; t++) salience[t] = cell(gate, inputs + t * stride, gate->state, gate->state);
    return FV_OK;
}

fv_status fv_gate_score_keys(fv_gate *gate, uint32_t tokens, uint32_t kv_heads, const float *keys, size_t stride,
                             float *salience) {
    if (!gate || kv_heads < 1 || stride / kv_heads < gate->config.input_dim) return FV_ERROR_ARGUMENT;
    if (tokens != 0 && (!keys || !salience)) return FV_ERROR_ARGUMENT;
    size_t dim = gate->config.input_dim;
    float share = 1.0f / (float)kv_heads;
    state_clear(gate);
    for (size_t t = 0; t < tokens; t++, keys += stride) {
        for (size_t c = 0; c < dim; c++) gate->mean[c] = 0.0f;
        for (size_t head = 0; head < kv_heads; head++)
            for (size_t c = 0; c < dim; c++) gate->mean[c] += keys[head * dim + c] * share;
        salience[t] = cell(gate, gate->mean, gate->state, gate->state);
    }
    return FV_OK;
}

#endif
