/* sampler_file_test.c - settings that a file recommends: below what was asked for, of any type of number, and never
 * something that is none. */
#include "fovea/sampler.h"
#include "support/gguf_builder.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BIT(NAME) (1u << FV_SAMPLING_##NAME)

static builder file;

static void put_f32(const char *key, float value) {
    put_key(&file, key, FV_GGUF_FLOAT32);
    put_bytes(&file, &value, sizeof value);
}

static fv_status recommended(uint32_t kept, fv_sampler_config *config, uint32_t *taken, fv_message *message) {
    fv_gguf *gguf = NULL;
    put_data(&file, 32, 0);
    assert_int_equal(fv_gguf_open_memory(&gguf, file.bytes, file.count, "file", NULL), FV_OK);
    fv_status status = fv_sampler_config_recommended(gguf, kept, config, taken, message);
    fv_gguf_close(gguf);
    return status;
}

static void what_the_file_says_is_below_what_was_asked_for(void **state) {
    fv_sampler_config config;
    fv_message message;
    uint32_t taken = 0;
    (void)state;
    put_header(&file, 3, 0, 5);
    put_f32("general.sampling.temp", 0.5f);
    put_value(&file, "general.sampling.top_k", FV_GGUF_INT32, 20, 4);
    put_value(&file, "general.sampling.penalty_last_n", FV_GGUF_INT32, UINT32_MAX, 4); /* -1 */
    put_f32("general.sampling.min_p", 0.25f);
    put_value(&file, "general.sampling.penalty_repeat", FV_GGUF_UINT8, 2, 1);
    fv_sampler_config_default(&config);
    config.min_p = 0.125f;
    assert_int_equal(recommended(BIT(MIN_P), &config, &taken, &message), FV_OK);
    assert_string_equal(message.text, "");
    assert_int_equal(taken, BIT(TEMPERATURE) | BIT(TOP_K) | BIT(REPEAT_LAST) | BIT(REPEAT_PENALTY));
    assert_true(config.temperature == 0.5f && config.top_k == 20 && config.repeat_last_tokens == -1);
    assert_true(config.min_p == 0.125f && config.repeat_penalty == 2 && config.top_p == 0.95f);
    assert_true(fv_sampling_value(&config, FV_SAMPLING_TOP_K) == 20);
    assert_string_equal(fv_sampling_name(FV_SAMPLING_REPEAT_PENALTY), "penalty_repeat");
    assert_null(fv_sampling_name(FV_SAMPLING_COUNT));
}

static void what_is_no_number_is_an_error(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        fv_sampler_config config;
        fv_message message;
        uint32_t taken = 77;
        put_header(&file, 3, 0, 1);
        if (i == 0) put_f32("general.sampling.temp", -1e30f);
        if (i == 1) put_value(&file, "general.sampling.temp", FV_GGUF_FLOAT32, 0x7FC00000, 4); /* a NaN */
        if (i == 2) put_key(&file, "general.sampling.temp", FV_GGUF_STRING), put_text(&file, "0.5");
        fv_sampler_config_default(&config);
        assert_int_equal(recommended(0, &config, &taken, &message), FV_ERROR_CORRUPT);
        assert_non_null(strstr(message.text, "general.sampling.temp"));
        assert_true(config.temperature == 0.8f && taken == 77);
    }
}

static void a_sampler_that_is_not_there_is_remarked_on(void **state) {
    (void)state;
    for (uint32_t mirostat = 0; mirostat < 3; mirostat += 2) {
        fv_sampler_config config;
        fv_message message;
        uint32_t taken = 77;
        put_header(&file, 3, 0, 1);
        put_value(&file, "general.sampling.mirostat", FV_GGUF_INT32, mirostat, 4);
        fv_sampler_config_default(&config);
        assert_int_equal(recommended(0, &config, &taken, &message), FV_OK);
        assert_int_equal(taken, 0);
        assert_int_equal(strstr(message.text, "mirostat") != NULL, mirostat > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_file_says_is_below_what_was_asked_for),
        cmocka_unit_test(what_is_no_number_is_an_error),
        cmocka_unit_test(a_sampler_that_is_not_there_is_remarked_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
