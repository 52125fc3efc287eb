/* Scores of one chunk, pages that the same positions read in one call of the kernel. */
#include "attend/attend_job.h"
#include "cache/element.h"

fv_score_page_fn *fv_element_score(const fv_kernels *kernels, uint32_t type) {
    if (FV_ELEMENT_IS(type, F16)) return kernels->score_page_f16;
    if (FV_ELEMENT_IS(type, BF16)) return kernels->score_page_bf16;
    if (FV_ELEMENT_IS(type, Q8_0)) return kernels->score_page_q8;
    if (FV_ELEMENT_IS(type, Q4_0)) return kernels->score_page_q4;
    return kernels->score_page_f32;
}

/* Pages from `first` on that are read by the same positions. */
static uint32_t score_run(const fv_key_chunk *chunk, uint32_t first) {
    if (!FV_BUILD_PROMPT) return chunk->count - first;
    uint32_t s = first + 1;
    while (s < chunk->count && chunk->slots[s].row_begin == chunk->slots[first].row_begin &&
           chunk->slots[s].row_end == chunk->slots[first].row_end)
        s++;
    return s - first;
}

/* Scores of the pages first..first+count-1 for the positions that read them; scales: of the chunk's keys, or NULL. */
static void run_scores(const fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next, uint32_t first,
                       uint32_t count, const float *scales) {
    fv_score_page_fn *score = fv_element_score(job->kernels, chunk->key_type);
    const fv_page_slot *slot = &chunk->slots[first];
    size_t dim = job->config->head_dim, row = (size_t)slot->row_begin * job->group, columns = count * FV_PAGE_TOKENS;
    size_t rows = (size_t)(slot->row_end - slot->row_begin) * job->group;
    float *out = job->score + row * FV_CHUNK_KEYS + first * FV_PAGE_TOKENS;
    score(rows, count, dim, fv_job_query(job, chunk->key_type, row), dim, chunk->keys + first,
          FV_BUILD_AHEAD && next ? next->keys + first : NULL, scales ? scales + first * FV_PAGE_TOKENS : NULL, out,
          FV_CHUNK_KEYS);
    if (!fv_attend_is_capped(job->config)) return;
    for (size_t r = 0; r < rows; r++)
        job->kernels->softcap_f32(columns, job->config->scale, job->config->softcap, out + r * FV_CHUNK_KEYS);
}

void fv_scores_attend(const fv_attend_job *job, const fv_key_chunk *chunk, const fv_key_chunk *next) {
    float *scales = job->scales;
    bool scaled = FV_BUILD_Q8 && chunk->slots[0].key_scales != NULL;
    for (uint32_t s = 0; scaled && s < chunk->count; s++)
        for (uint32_t t = 0; t < FV_PAGE_TOKENS; t++) scales[s * FV_PAGE_TOKENS + t] = chunk->slots[s].key_scales[t];
    for (uint32_t s = 0, count; s < chunk->count; s += count) {
        count = score_run(chunk, s);
        run_scores(job, chunk, next, s, count, scaled ? scales : NULL);
    }
}
