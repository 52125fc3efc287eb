/* ggml_type.c - the types that fovea computes with are those of weight.h; the others stand here. */
#include "gguf/ggml_type.h"
#include "fovea/gguf.h"
#include <stddef.h>

/* X(NAME, ggml type number, values per block, bytes per block) */
#define OTHER_TYPE_LIST(X) \
    X(Q8_1, 9, 32, 36) \
    X(Q8_K, 15, 256, 292) \
    X(IQ1_S, 19, 256, 50) \
    X(I8, 24, 1, 1) \
    X(I16, 25, 1, 2) \
    X(I32, 26, 1, 4) \
    X(I64, 27, 1, 8) \
    X(F64, 28, 1, 8) \
    X(IQ1_M, 29, 256, 56) \
    X(TQ1_0, 34, 256, 54) \
    X(TQ2_0, 35, 256, 66) \
    X(NVFP4, 40, 64, 36) \
    X(Q1_0, 41, 128, 18) \
    X(Q2_0, 42, 64, 18)

#define WEIGHT_ROW(NAME, name, number, values, bytes) [number] = {#NAME, values, bytes},
#define OTHER_ROW(NAME, number, values, bytes) [number] = {#NAME, values, bytes},
static const fv_ggml_type types[] = {FV_WEIGHT_LIST(WEIGHT_ROW) OTHER_TYPE_LIST(OTHER_ROW)};

const fv_ggml_type *fv_ggml_type_find(uint32_t number) {
    if (number >= sizeof types / sizeof *types || !types[number].name) return NULL;
    return &types[number];
}

/* What converters wrote until ggml dropped it: interleaved forms of Q4_0 and IQ4_NL, and two from before GGUF. */
const char *fv_gguf_type_retired(uint32_t ggml_type) {
    switch (ggml_type) {
    case 4:
        return "Q4_2";
    case 5:
        return "Q4_3";
    case 31:
        return "Q4_0_4_4";
    case 32:
        return "Q4_0_4_8";
    case 33:
        return "Q4_0_8_8";
    case 36:
        return "IQ4_NL_4_4";
    case 37:
        return "IQ4_NL_4_8";
    case 38:
        return "IQ4_NL_8_8";
    default:
        return NULL;
    }
}

const char *fv_gguf_type_name(uint32_t ggml_type) {
    const fv_ggml_type *type = fv_ggml_type_find(ggml_type);
    return type ? type->name : NULL;
}
