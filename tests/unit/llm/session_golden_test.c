/* session_golden_test.c - a session file that was made once, with AVX2, wakes with every instruction set that there is
 * to the same bits, and is written again as the same bytes. tools/aarch64.sh and tools/avx512.sh run it, too.
 *
 * Called with --write it makes the file anew, and prints the numbers below.
 */
#include "fovea/session_file.h"
#include "llm/hash64.h"
#include "llm/sequence_state.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL FV_SOURCE_DIR "/tests/model/llama_f32.gguf"
#define GOLDEN FV_SOURCE_DIR "/tests/golden/session/llama_f32.fovea"
#define AGAIN "session_golden_test.fovea"

enum { TOKENS = 120, MORE = 24, CONTEXT = 200, VOCABULARY = 304, FILE_MOST = 1 << 20 };

static const uint64_t elements_hash = 0xdcbb9b657a5d046e; /* of keys and values, layer by layer, head by head, as f32 */
static const int32_t answer[MORE] = {101, 65, 103, 291, 85,  297, 254, 298, 256, 239, 241, 270,
                                     254, 14, 20,  225, 164, 203, 204, 161, 204, 121, 270, 161};

static fv_session *session_open(const fv_llm *llm, uint32_t isa) {
    fv_session *session = NULL;
    fv_session_config config;
    fv_session_config_default(&config);
    config.context_tokens = CONTEXT;
    config.value_type = FV_ELEMENT_Q8_0;
    config.isa_limit = isa;
    fv_policy_default(FV_SELECTOR_FOVEA, &config.policy);
    fv_policy_set_budget(&config.policy, 0.3f);
    config.policy.dense_below = 0;
    config.policy.tail = 1;
    assert_int_equal(fv_session_open(&session, llm, &config, NULL, NULL), FV_OK);
    return session;
}

static uint64_t elements_sum(const fv_session *session) {
    const fv_sequence *sequence = fv_session_sequence((fv_session *)(uintptr_t)session);
    static float keys[TOKENS * 64], values[TOKENS * 64];
    uint64_t sum = 0;
    for (uint32_t layer = 0; layer < sequence->shape.layers; layer++)
        for (uint32_t head = 0; head < sequence->shape.cache.kv_heads; head++) {
            size_t bytes = (size_t)TOKENS * sequence->shape.cache.head_dim * sizeof(float);
            assert_int_equal(fv_cache_read(sequence->caches[layer], head, 0, TOKENS, keys, values), FV_OK);
            sum = fv_hash64(fv_hash64(sum, keys, bytes), values, bytes);
        }
    return sum;
}

/* The likeliest tokens, from token `next` on. */
static void answer_make(fv_session *session, int32_t next, int32_t *tokens) {
    float logits[VOCABULARY];
    for (int i = 0; i < MORE; i++) {
        assert_int_equal(fv_session_feed(session, &next, 1, NULL, NULL), FV_OK);
        assert_int_equal(fv_session_logits(session, 0, 1, logits), FV_OK);
        next = 0;
        for (int32_t j = 1; j < VOCABULARY; j++)
            if (logits[j] > logits[next]) next = j;
        tokens[i] = next;
    }
}

static size_t file_read(const char *path, unsigned char *bytes) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t count = fread(bytes, 1, FILE_MOST, file);
    fclose(file);
    return count;
}

static void assert_same_file(const char *one, const char *other) {
    static unsigned char a[FILE_MOST], b[FILE_MOST];
    size_t count = file_read(one, a);
    assert_int_equal(file_read(other, b), count);
    assert_memory_equal(a, b, count);
}

static void every_instruction_set_wakes_to_the_same_bits(void **state) {
    const fv_llm *llm = *state;
    for (uint32_t isa = 0; isa < FV_ISA_COUNT; isa++) {
        fv_session *session = session_open(llm, isa);
        if (fv_kernels_isa(fv_session_sequence(session)->kernels) != isa) { /* not this processor's */
            fv_session_close(session);
            continue;
        }
        fv_session_file *file = NULL;
        int32_t tokens[MORE];
        assert_int_equal(fv_session_file_open(&file, GOLDEN, NULL), FV_OK);
        assert_int_equal(fv_session_wake(session, file, TOKENS, NULL), FV_OK);
        assert_true(elements_sum(session) == elements_hash);
        assert_int_equal(fv_session_save(session, AGAIN, FV_SESSION_END_PLAIN, NULL), FV_OK);
        assert_same_file(AGAIN, GOLDEN);
        answer_make(session, 7, tokens);
        assert_memory_equal(tokens, answer, sizeof answer);
        fv_session_file_close(file);
        fv_session_close(session);
    }
    remove(AGAIN);
}

static int write_golden(const fv_llm *llm) {
    fv_session *session = session_open(llm, FV_ISA_AVX2);
    int32_t tokens[TOKENS], said[MORE];
    for (int32_t i = 0; i < TOKENS; i++) tokens[i] = 4 + i * i % (VOCABULARY - 4);
    if (fv_session_feed(session, tokens, TOKENS, NULL, NULL) != FV_OK) return 1;
    if (fv_session_save(session, GOLDEN, FV_SESSION_END_PLAIN, NULL) != FV_OK) return 1;
    printf("0x%016llx\n", (unsigned long long)elements_sum(session));
    answer_make(session, 7, said);
    for (int i = 0; i < MORE; i++) printf("%d, ", said[i]);
    printf("\n");
    fv_session_close(session);
    return 0;
}

static int open_file(void **state) {
    fv_llm *llm = NULL;
    fv_message message = {{0}};
    if (fv_llm_open(&llm, MODEL, &message) != FV_OK) return print_error("%s\n", message.text), -1;
    *state = llm;
    return 0;
}

static int close_file(void **state) {
    fv_llm_close(*state);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_instruction_set_wakes_to_the_same_bits)};
    if (argc == 2 && strcmp(argv[1], "--write") == 0) {
        void *state = NULL;
        int status = open_file(&state) == 0 ? write_golden(state) : 1;
        return close_file(&state), status;
    }
    return cmocka_run_group_tests(tests, open_file, close_file);
}
