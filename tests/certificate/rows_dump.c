/* rows_dump.c - queries, keys and values of a real model in files, for experiments outside the library. A program, not
 * a test; tools/rest_experiment.py reads what it writes.
 *
 *   rows_dump MODEL TEXT CONTEXT SKIP STEP FIRST FOLDER LAYER...
 *
 * Reads CONTEXT tokens of TEXT (after SKIP) densely. FOLDER/q.bin: for each of the layers, each KV head and every
 * STEP-th position from FIRST on, three int32, layer, head and position, and the queries of the head's group, f32.
 * FOLDER/kv_LAYER_HEAD.bin: all keys, then all values, f32, as attention sees them. */
#include "fovea/attention.h"
#include "fovea/session.h"
#include "kernels/kernels.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_LAYERS = 512, MOST_PATH = 4096 };

typedef struct dump_job {
    uint32_t step, context, first;
    const char *folder;
    FILE *queries;
    bool wanted[MOST_LAYERS];
} dump_job;

static void *must(void *memory) {
    if (memory) return memory;
    fprintf(stderr, "no memory\n");
    exit(1);
}

static FILE *file_create(const char *path) {
    FILE *file = fopen(path, "wb");
    if (file) return file;
    perror(path);
    exit(1);
}

static void write_all(FILE *file, const void *data, size_t size, size_t count) {
    if (fwrite(data, size, count, file) == count) return;
    perror("write");
    exit(1);
}

static void pages_dump(const dump_job *job, const fv_attention_seen *seen) {
    char path[MOST_PATH];
    size_t elements = (size_t)job->context * seen->attend->head_dim;
    float *keys = must(malloc(elements * sizeof *keys)), *values = must(malloc(elements * sizeof *values));
    if (fv_cache_read(seen->cache, seen->kv_head, 0, job->context, keys, values) != FV_OK) exit(1);
    snprintf(path, sizeof path, "%s/kv_%u_%u.bin", job->folder, seen->layer, seen->kv_head);
    FILE *file = file_create(path);
    write_all(file, keys, sizeof *keys, elements);
    write_all(file, values, sizeof *values, elements);
    if (fclose(file) != 0) exit(1);
    free(keys);
    free(values);
}

/* One thread reads, so rows and files come one at a time. */
static void observe(void *context, const fv_attention_seen *seen, size_t worker) {
    dump_job *job = context;
    size_t group = seen->attend->query_heads / seen->attend->kv_heads, elements = group * seen->attend->head_dim;
    (void)worker;
    if (seen->local_window || seen->layer >= MOST_LAYERS || !job->wanted[seen->layer]) return;
    for (uint32_t row = 0; row < seen->plan->rows; row++) {
        uint32_t position = seen->plan->first_token + row;
        if (position >= job->first && position % job->step == job->step - 1) {
            int32_t place[3] = {(int32_t)seen->layer, (int32_t)seen->kv_head, (int32_t)position};
            write_all(job->queries, place, sizeof *place, 3);
            write_all(job->queries, seen->query + row * seen->query_stride + seen->kv_head * elements, sizeof(float),
                      elements);
        }
        if (position == job->context - 1) pages_dump(job, seen);
    }
}

static char *file_read(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *text = must(malloc(8u << 20));
    *length = file ? fread(text, 1, 8u << 20, file) : 0;
    if (file) fclose(file);
    return text;
}

int main(int argc, char **argv) {
    if (argc < 9) {
        fprintf(stderr, "usage: rows_dump MODEL TEXT CONTEXT SKIP STEP FIRST FOLDER LAYER...\n");
        return 2;
    }
    fv_message message = {""};
    fv_llm *llm = NULL;
    fv_session *session = NULL;
    fv_tokens tokens = {0};
    size_t length, skip = strtoul(argv[4], NULL, 10);
    dump_job job = {.context = (uint32_t)strtoul(argv[3], NULL, 10),
                    .step = (uint32_t)strtoul(argv[5], NULL, 10),
                    .first = (uint32_t)strtoul(argv[6], NULL, 10),
                    .folder = argv[7]};
    char path[MOST_PATH], *text = file_read(argv[2], &length);
    for (int i = 8; i < argc; i++) {
        unsigned long layer = strtoul(argv[i], NULL, 10);
        if (layer < MOST_LAYERS) job.wanted[layer] = true;
    }
    if (job.step == 0) job.step = 1;
    snprintf(path, sizeof path, "%s/q.bin", job.folder);
    job.queries = file_create(path);
    fv_status status = fv_llm_open(&llm, argv[1], &message);
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = job.context;
    fv_policy_default(FV_SELECTOR_DENSE, &config.policy);
    if (status == FV_OK) status = fv_session_open(&session, llm, &config, NULL, &message);
    if (status == FV_OK)
        status = fv_tokenizer_encode(fv_llm_tokenizer(llm), text, length, FV_TOKENIZE_ADD_SPECIAL, &tokens);
    if (status == FV_OK && tokens.count < skip + job.context) status = FV_ERROR_ARGUMENT;
    if (status == FV_OK) {
        fv_session_observe(session, observe, &job);
        status = fv_session_feed(session, tokens.ids + skip, job.context, NULL, NULL);
    }
    if (fclose(job.queries) != 0) return 1;
    if (status != FV_OK) fprintf(stderr, "%s: %s %s\n", argv[1], fv_status_text(status), message.text);
    return status == FV_OK ? 0 : 1;
}
