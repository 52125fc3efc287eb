/* golden_arrays.h - cases of tests/golden/reference as constants; golden_arrays.py makes them from the files. */
#ifndef FV_GOLDEN_ARRAYS_H
#define FV_GOLDEN_ARRAYS_H

#include <fovea/reference/gate.h>
#include <fovea/reference/pattern.h>

typedef enum golden_function {
    GOLDEN_FORWARD, /* all rows of plain arrays */
    GOLDEN_DENSE,
    GOLDEN_DECODE, /* token by token over a cache; the first `prefill` tokens are appended at once */
    GOLDEN_GATE    /* saliences, token by token */
} golden_function;

typedef struct golden_arrays {
    const char *name;
    golden_function function;
    uint32_t tokens, query_heads, kv_heads, head_dim;
    uint32_t tile, prefill, cache_block, element; /* fv_element of the cache */
    uint32_t window, block, globals_count, globals[FV_POLICY_GLOBALS], causal, log_stride, landmarks;
    float tolerance;
    const float *query, *keys, *values, *out; /* GATE: query are the tokens, out the saliences */
    const uint8_t *keep;                      /* NULL: none */
    uint32_t hidden_dim;
    float zeta, nu;
    const float *parts[FV_GATE_PARTS];
} golden_arrays;

extern const golden_arrays golden_list[];
extern const uint32_t golden_count;

#endif
