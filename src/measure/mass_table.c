/* mass_table.c - an observer of a session's attention. */
#include "fovea/measure/mass_table.h"
#include "fovea/measure/mass.h"
#include "platform/replacement.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fv_mass_table {
    fv_session *session;
    uint32_t layers, query_heads, rows; /* most rows of a micro-batch */
    uint32_t first_token;               /* of the micro-batch being read */
    bool on;                            /* what is read now counts */
    float *noted;                       /* [rows][layers][query_heads]; negative: that layer has a mask of its own */
    double *sum;                        /* [2][layers][query_heads]: the sums, then those that are kept */
    uint64_t *count;                    /* likewise */
    float **scratch;                    /* [workers] */
    uint32_t workers;
};

static float *noted_at(const fv_mass_table *mass, size_t row, uint32_t layer) {
    return mass->noted + (row * mass->layers + layer) * mass->query_heads;
}

static void observe(void *context, const fv_attention_seen *seen, size_t worker) {
    const fv_mass_table *mass = context;
    uint32_t group = fv_attend_group(seen->attend), dim = seen->attend->head_dim;
    if (!mass->on || seen->local_window) return;
    float *scratch = mass->scratch[worker], *tokens = scratch + FV_PAGE_TOKENS * (size_t)dim;
    for (uint32_t row = 0; row < seen->plan->rows; row++) {
        uint32_t position = seen->plan->first_token + row;
        const float *query = seen->query + row * seen->query_stride + (size_t)seen->kv_head * group * dim;
        float *noted = noted_at(mass, position - mass->first_token, seen->layer) + seen->kv_head * group;
        if (fv_mass_tokens(seen->attend, seen->kernels, seen->cache, seen->kv_head, position, query, tokens, scratch) ==
            FV_OK)
            fv_mass_read(seen->plan, row, group, tokens, noted);
    }
}

static bool take_memory(fv_mass_table *mass, const fv_model_config *shape, uint32_t context) {
    size_t group = shape->query_heads / shape->cache.kv_heads, heads = (size_t)shape->layers * shape->query_heads;
    size_t floats = FV_PAGE_TOKENS * (size_t)shape->cache.head_dim + group * context;
    mass->noted = malloc(mass->rows * heads * sizeof *mass->noted);
    mass->sum = calloc(2 * heads, sizeof *mass->sum);
    mass->count = calloc(2 * heads, sizeof *mass->count);
    mass->scratch = calloc(mass->workers, sizeof *mass->scratch);
    if (!mass->noted || !mass->sum || !mass->count || !mass->scratch) return false;
    for (uint32_t worker = 0; worker < mass->workers; worker++) {
        mass->scratch[worker] = malloc(floats * sizeof **mass->scratch);
        if (!mass->scratch[worker]) return false;
    }
    return true;
}

fv_status fv_mass_table_open(fv_mass_table **table, fv_session *session, const fv_llm *llm, uint32_t context,
                             uint32_t rows, uint32_t workers) {
    const fv_model_config *shape = fv_llm_config(llm);
    fv_mass_table *mass = calloc(1, sizeof *mass);
    if (!mass) return FV_ERROR_MEMORY;
    mass->layers = shape->layers;
    mass->query_heads = shape->query_heads;
    mass->rows = rows;
    mass->workers = workers;
    if (!take_memory(mass, shape, context)) {
        fv_mass_table_close(mass);
        return FV_ERROR_MEMORY;
    }
    mass->session = session;
    fv_session_observe(session, observe, mass);
    *table = mass;
    return FV_OK;
}

void fv_mass_table_close(fv_mass_table *mass) {
    if (!mass) return;
    if (mass->session) fv_session_observe(mass->session, NULL, NULL);
    for (uint32_t worker = 0; mass->scratch && worker < mass->workers; worker++) free(mass->scratch[worker]);
    free(mass->scratch);
    free(mass->noted);
    free(mass->sum);
    free(mass->count);
    free(mass);
}

void fv_mass_table_begin(fv_mass_table *mass, uint32_t first_token) {
    size_t count = (size_t)mass->rows * mass->layers * mass->query_heads;
    mass->first_token = first_token;
    mass->on = true;
    for (size_t i = 0; i < count; i++) mass->noted[i] = -1.0f;
}

void fv_mass_table_end(fv_mass_table *mass, uint32_t rows) {
    size_t heads = (size_t)mass->layers * mass->query_heads;
    mass->on = false;
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < heads; i++) {
            float read = noted_at(mass, row, 0)[i];
            if (read < 0) continue;
            mass->sum[i] += (double)read;
            mass->count[i]++;
        }
}

/* Copies one half of the sums over the other. */
static void copy_sums(fv_mass_table *mass, size_t to, size_t from) {
    size_t heads = (size_t)mass->layers * mass->query_heads;
    memcpy(mass->sum + to * heads, mass->sum + from * heads, heads * sizeof *mass->sum);
    memcpy(mass->count + to * heads, mass->count + from * heads, heads * sizeof *mass->count);
}

void fv_mass_table_keep(fv_mass_table *mass) { copy_sums(mass, 1, 0); }
void fv_mass_table_revert(fv_mass_table *mass) { copy_sums(mass, 0, 1); }

double fv_mass_table_head(const fv_mass_table *mass, uint32_t layer, uint32_t head) {
    size_t i = (size_t)layer * mass->query_heads + head;
    return mass->count[i] ? mass->sum[i] / (double)mass->count[i] : (double)NAN;
}

double fv_mass_table_mean(const fv_mass_table *mass) {
    double sum = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < (size_t)mass->layers * mass->query_heads; i++) {
        sum += mass->sum[i];
        count += mass->count[i];
    }
    return count ? sum / (double)count : (double)NAN;
}

static bool write_heads(FILE *file, const fv_mass_table *mass, const char *name) {
    bool good = true;
    for (uint32_t layer = 0; layer < mass->layers; layer++)
        for (uint32_t head = 0; head < mass->query_heads && good; head++) {
            double share = fv_mass_table_head(mass, layer, head);
            if (isnan(share)) continue;
            good = fprintf(file, "\"%s\",%u,%u,%.6f\n", name, layer, head, share) > 0;
        }
    return good;
}

fv_status fv_mass_tables_write(const fv_mass_table *const *tables, const char *const *names, size_t count,
                               const char *path, fv_message *message) {
    fv_replacement made;
    fv_status status = fv_replacement_begin(&made, path, message);
    if (status != FV_OK) return status;
    bool good = made.file && fprintf(made.file, "attention,layer,head,mass\n") > 0;
    for (size_t i = 0; i < count && good; i++) good = write_heads(made.file, tables[i], names[i]);
    return fv_replacement_end(&made, good, message);
}
