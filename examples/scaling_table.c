/* scaling_table.c - edges and time per token as a sequence grows: the pattern, the pattern with a gate, dense
 * attention. One head, one thread; time is the processor's. Usage: scaling_table [--full]  (to 65,536 tokens; else to
 * 2,048) */
#include <fovea/reference/pattern.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HEAD_DIM = 64, SHORTEST = 128, SHORT_LONGEST = 2048, FULL_LONGEST = 65536, DENSE_LONGEST = 16384, SIZES = 10 };
#define KEEP_PART 16       /* one key in so many may be reached by a log-stride of the gated pattern */
#define LEAST_SECONDS 0.01 /* a call is repeated until so much has been spent */
#define BAR 48

typedef enum way { PATTERN, GATED, DENSE, WAYS } way;
static const char *const way_names[WAYS] = {"pattern", "gated", "dense"};

typedef struct setup {
    fv_pattern *pattern;
    fv_gate *gate;
    const fv_pattern_config *config;
    uint32_t *heap, *until;
    float *arrays[4], *salience; /* query, keys, values, out */
} setup;

typedef struct figure {
    uint64_t edges;
    double ns; /* per token */
} figure;

static void check(fv_status status) {
    if (status == FV_OK) return;
    fprintf(stderr, "error: %s\n", fv_status_text(status));
    exit(1);
}

static void *aligned(size_t bytes) {
    void *memory = aligned_alloc(FV_CACHE_ALIGN, (bytes + FV_CACHE_ALIGN - 1) / FV_CACHE_ALIGN * FV_CACHE_ALIGN);
    if (!memory) check(FV_ERROR_MEMORY);
    return memory;
}

static void call_run(const setup *on, way which, uint32_t tokens) {
    fv_pattern_call call = {.query = {on->arrays[0], tokens, 1, HEAD_DIM},
                            .keys = {on->arrays[1], tokens, 1, HEAD_DIM},
                            .values = {on->arrays[2], tokens, 1, HEAD_DIM}};
    switch (which) {
    case PATTERN:
        check(fv_pattern_forward(on->pattern, &call, on->arrays[3]));
        break;
    case GATED:
        check(
            fv_pattern_forward_gated(on->pattern, on->gate, FV_KEEP_CAUSAL, tokens / KEEP_PART, &call, on->arrays[3]));
        break;
    default:
        check(fv_pattern_forward_dense(on->pattern, &call, on->arrays[3]));
    }
}

static uint64_t edges_of(const setup *on, way which, uint32_t tokens) {
    if (which == DENSE) return (uint64_t)tokens * (tokens + 1) / 2;
    fv_policy policy = on->config->policy;
    if (which == GATED) {
        check(fv_gate_score_keys(on->gate, tokens, 1, on->arrays[1], HEAD_DIM, on->salience));
        check(fv_keep_until(FV_KEEP_CAUSAL, tokens, on->salience, tokens / KEEP_PART, on->heap, on->until));
        policy.keep_until = on->until;
        policy.keep_tokens = tokens;
    }
    uint64_t edges;
    check(fv_pattern_edges(&policy, tokens, &edges));
    return edges;
}

static figure measure(const setup *on, way which, uint32_t tokens) {
    clock_t begin = clock(), spent;
    uint32_t calls = 0;
    do {
        call_run(on, which, tokens);
        calls++;
        spent = clock() - begin;
    } while ((double)spent < LEAST_SECONDS * CLOCKS_PER_SEC);
    return (figure){edges_of(on, which, tokens), (double)spent / CLOCKS_PER_SEC / calls / tokens * 1e9};
}

/* Edges per token on a logarithmic axis that ends at `most`. */
static void bars_print(uint32_t tokens, const figure *row, double most) {
    for (way which = 0; which < WAYS; which++) {
        double edges = (double)row[which].edges / tokens;
        int length = (int)(BAR * log2(edges) / log2(most) + 0.5);
        printf("    %-8s ", way_names[which]);
        for (int i = 0; i < length; i++) putchar('#');
        printf(" %.0f\n", edges);
    }
}

int main(int argc, char **argv) {
    uint32_t longest = argc > 1 && strcmp(argv[1], "--full") == 0 ? FULL_LONGEST : SHORT_LONGEST;
    static uint64_t kernel_memory[FV_KERNELS_BYTES / sizeof(uint64_t)];
    const fv_kernels *kernels;
    check(fv_kernels_init(&kernels, FV_ISA_BEST, kernel_memory, sizeof kernel_memory));
    fv_pattern_config config;
    fv_pattern_config_default(&config);
    config.max_tokens = longest;
    config.gated = 1;
    size_t bytes, gate_bytes;
    check(fv_pattern_size(&config, &bytes));
    fv_gate_config gate_config;
    fv_gate_config_default(&gate_config);
    check(fv_gate_size(&gate_config, &gate_bytes));
    setup on = {.config = &config};
    void *memory = aligned(bytes), *gate_memory = aligned(gate_bytes);
    check(fv_pattern_init(&on.pattern, &config, kernels, memory, bytes));
    check(fv_gate_init(&on.gate, &gate_config, NULL, gate_memory, gate_bytes));
    uint32_t random = 1;
    for (uint32_t array = 0; array < 4; array++) {
        on.arrays[array] = aligned((size_t)longest * HEAD_DIM * sizeof(float));
        for (uint32_t i = 0; i < longest * HEAD_DIM; i++) {
            random = random * 1664525u + 1013904223u; /* Numerical Recipes' generator */
            on.arrays[array][i] = (float)(random >> 8) * 0x1p-23f - 1.0f;
        }
    }
    on.salience = aligned(longest * sizeof(float));
    on.heap = aligned(longest * sizeof(uint32_t));
    on.until = aligned(longest * sizeof(uint32_t));

    printf("1 head of %d, window %" PRIu32 ", block %" PRIu32 ", gate keeps 1 key in %d, %s kernels, 1 thread\n",
           HEAD_DIM, config.policy.window, config.policy.block, KEEP_PART, fv_isa_name(fv_kernels_isa(kernels)));
    printf("%7s %36s   %24s\n", "", "edges", "ns per token");
    printf("%7s %10s %10s %14s   %7s %7s %8s\n", "tokens", "pattern", "gated", "dense", "pattern", "gated", "dense");
    figure figures[SIZES][WAYS];
    uint32_t sizes = 0;
    for (uint32_t tokens = SHORTEST; tokens <= longest; tokens *= 2, sizes++) {
        figure *row = figures[sizes];
        for (way which = 0; which < WAYS; which++)
            row[which] = which == DENSE && tokens > DENSE_LONGEST ? (figure){edges_of(&on, which, tokens), 0}
                                                                  : measure(&on, which, tokens);
        printf("%7" PRIu32 " %10" PRIu64 " %10" PRIu64 " %14" PRIu64 "   %7.0f %7.0f ", tokens, row[PATTERN].edges,
               row[GATED].edges, row[DENSE].edges, row[PATTERN].ns, row[GATED].ns);
        if (row[DENSE].ns > 0)
            printf("%8.0f\n", row[DENSE].ns);
        else
            printf("%8s\n", "-");
    }
    if (longest > DENSE_LONGEST) printf("dense is timed up to %d tokens; its edges are n (n + 1) / 2\n", DENSE_LONGEST);

    printf("\nedges per token, logarithmic\n");
    for (uint32_t i = 0; i < sizes; i++) {
        uint32_t tokens = (uint32_t)SHORTEST << i;
        printf("%" PRIu32 " tokens\n", tokens);
        bars_print(tokens, figures[i], (double)(longest + 1) / 2);
    }

    for (uint32_t array = 0; array < 4; array++) free(on.arrays[array]);
    free(on.salience);
    free(on.heap);
    free(on.until);
    free(gate_memory);
    free(memory);
    return 0;
}
