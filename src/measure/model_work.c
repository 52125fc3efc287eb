/* model_work.c - counts a model's work from its shape and the report. */
#include "fovea/measure/model_bench.h"
#include "fovea/weight.h"

typedef struct model_products {
    double layers, output; /* multiply-adds of a token; of a row of logits */
    double muted;          /* of `layers`, those that a row without logits has no need of in the last layer */
    double layer_bytes, output_bytes;
    bool quantised;
} model_products;

/* The embedding is looked up, not multiplied; where it is the output matrix as well, it is counted as that one. */
static model_products products_of(const fv_llm *llm) {
    const fv_gguf *gguf = fv_llm_gguf(llm);
    const fv_gguf_tensor *output = fv_gguf_tensor_find(gguf, "output.weight");
    const fv_gguf_tensor *embedding = fv_gguf_tensor_find(gguf, "token_embd.weight");
    const fv_model_config *config = fv_llm_config(llm);
    double table = (double)config->vocabulary * config->width, embedded = embedding ? (double)embedding->bytes : 0;
    model_products made = {.output = table, .output_bytes = output ? (double)output->bytes : embedded};
    made.layers = (double)fv_llm_parameters(llm) - (output ? 2 : 1) * table;
    made.layer_bytes = (double)fv_llm_weight_bytes(llm) - embedded - (output ? made.output_bytes : 0);
    double keys = 2.0 * config->width * config->cache.kv_heads * config->cache.head_dim; /* and values */
    made.muted = made.layers / config->layers - keys;
    made.quantised = made.layer_bytes < 1.5 * made.layers; /* bytes; 16 and 32 bits are multiplied as f32 */
    return made;
}

static double rows_up(double tokens, double batch) { return (double)(uint64_t)((tokens + batch - 1) / batch); }

void fv_model_bench_work(const fv_llm *llm, const fv_model_bench_test *test, const fv_model_bench_result *result,
                         fv_peak_work *work) {
    model_products products = products_of(llm);
    const fv_model_config *config = fv_llm_config(llm);
    double prompt = test->prompt, generated = test->generated, samples = result->samples ? (double)result->samples : 1;
    double logits = rows_up(prompt, test->batch) + generated, batches = rows_up(prompt, test->micro_batch) + generated;
    double operations = 2 * ((prompt + generated) * products.layers + logits * products.output);
    operations -= 2 * (prompt + generated - batches) * products.muted; /* a batch has one row of logits at most */
    double keys = (double)(result->report.keys_read + result->report.local_keys) / samples;
    double group = (double)config->query_heads / config->cache.kv_heads;
    *work = (fv_peak_work){.f32_operations = 4 * keys * group * config->cache.head_dim};
    if (products.quantised)
        work->int8_operations = operations;
    else
        work->f32_operations += operations;
    work->bytes =
        batches * products.layer_bytes + logits * products.output_bytes + (double)result->report.bytes_read / samples;
}

double fv_model_bench_bytes(const fv_llm *llm, const fv_model_bench_test *test, const fv_model_bench_result *result) {
    fv_peak_work work;
    fv_model_bench_work(llm, test, result, &work);
    double batches = rows_up(test->prompt, test->micro_batch) + test->generated;
    return batches > 0 ? work.bytes / batches : work.bytes;
}

fv_status fv_model_bench_hold(const fv_llm *llm, const fv_model_bench_test *test, const fv_model_bench_result *result,
                              fv_isa isa, const fv_parallel *parallel, fv_model_bench_limit *limit) {
    double bytes = fv_model_bench_bytes(llm, test, result);
    uint32_t threads = parallel ? parallel->workers : 1;
    /* of what is read only main memory or not matters: one measurement serves many tests */
    if (bytes > (double)fv_peak_cache_bytes(3)) bytes = (double)fv_peak_memory_bytes();
    if (limit->threads != threads || limit->bytes != bytes) {
        fv_status status = fv_peaks_measure(&limit->peaks, isa, bytes, parallel);
        if (status != FV_OK) return status;
        limit->threads = threads;
        limit->bytes = bytes;
    }
    fv_peak_work work;
    fv_model_bench_figures figures;
    fv_model_bench_work(llm, test, result, &work);
    fv_model_bench_figures_of(test, result, &figures);
    limit->share = fv_peaks_share(&limit->peaks, &work, figures.mean_ns, &limit->name);
    return FV_OK;
}
