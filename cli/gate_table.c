/* gate_table.c - an observer of a session's attention that sums queries, as they are behind their rotation by position.
 */
#include "gate_table.h"
#include <stdlib.h>

static void observe(void *context, const fv_attention_seen *seen, size_t worker) {
    const cli_gate *gate = context;
    uint32_t group = seen->attend->query_heads / seen->attend->kv_heads, dim = gate->head_dim;
    size_t place = worker * gate->heads + (size_t)seen->layer * gate->kv_heads + seen->kv_head;
    double *sum = gate->sum + place * dim;
    for (uint32_t row = 0; row < seen->plan->rows; row++) {
        const float *query = seen->query + row * seen->query_stride + (size_t)seen->kv_head * group * dim;
        for (size_t i = 0; i < (size_t)group * dim; i++) sum[i % dim] += (double)query[i];
    }
    gate->count[place] += (uint64_t)seen->plan->rows * group;
}

fv_status cli_gate_open(cli_gate *gate, fv_session *session, const fv_llm *llm, uint32_t workers) {
    const fv_model_config *shape = fv_llm_config(llm);
    *gate = (cli_gate){.heads = shape->layers * shape->cache.kv_heads,
                       .kv_heads = shape->cache.kv_heads,
                       .head_dim = shape->cache.head_dim,
                       .workers = workers};
    gate->sum = calloc((size_t)workers * gate->heads * gate->head_dim, sizeof *gate->sum);
    gate->count = calloc((size_t)workers * gate->heads, sizeof *gate->count);
    if (!gate->sum || !gate->count) return FV_ERROR_MEMORY;
    fv_session_observe(session, observe, gate);
    return FV_OK;
}

void cli_gate_free(cli_gate *gate) {
    free(gate->sum);
    free(gate->count);
    *gate = (cli_gate){0};
}

void cli_gate_vectors(const cli_gate *gate, float *vectors) {
    size_t floats = (size_t)gate->heads * gate->head_dim;
    for (size_t i = 0; i < floats; i++) {
        double sum = 0;
        uint64_t count = 0;
        for (size_t worker = 0; worker < gate->workers; worker++) {
            sum += gate->sum[worker * floats + i];
            count += gate->count[worker * gate->heads + i / gate->head_dim];
        }
        vectors[i] = count ? (float)(sum / (double)count) : 0.0f;
    }
}
