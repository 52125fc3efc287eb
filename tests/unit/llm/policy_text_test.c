/* policy_text_test.c - a policy's text: what it means, that it comes back, what is refused and in which words. */
#include "fovea/policy_text.h"
#include "support/random.h"
#include "support/test_policy.h"
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static fv_policy parse(const char *text) {
    fv_policy policy;
    fv_message message = {""};
    if (fv_policy_parse(&policy, text, &message) != FV_OK) fail_msg("%s: %s", text, message.text);
    return policy;
}

/* Field by field, padding apart. */
static bool is_same(const fv_policy *a, const fv_policy *b) {
    return a->selector == b->selector && a->causal == b->causal && a->window == b->window && a->sinks == b->sinks &&
           a->block == b->block && a->globals_count == b->globals_count && a->log_stride == b->log_stride &&
           a->landmarks == b->landmarks && memcmp(a->globals, b->globals, sizeof a->globals) == 0 &&
           a->budget == b->budget && a->pages == b->pages && a->top_p == b->top_p && a->floor == b->floor &&
           a->cap == b->cap && a->dense_below == b->dense_below && a->certificate == b->certificate &&
           a->quality == b->quality && a->tail == b->tail && a->floor_share == b->floor_share &&
           a->question == b->question && !a->keep && !a->keep_until && !a->head_share;
}

static void names_alone_are_the_defaults_of_c(void **state) {
    (void)state;
    const struct {
        const char *text;
        fv_selector selector;
    } names[] = {{"dense", FV_SELECTOR_DENSE},
                 {"window", FV_SELECTOR_WINDOW},
                 {"pattern", FV_SELECTOR_PATTERN},
                 {"fovea", FV_SELECTOR_FOVEA},
                 {"fovea:selector=shadow", FV_SELECTOR_FOVEA},
                 {"fovea:selector=cascade", FV_SELECTOR_CASCADE}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        fv_policy want = test_policy(names[i].selector), got = parse(names[i].text);
        assert_true(is_same(&got, &want));
    }
    fv_policy fovea = parse("fovea");
    assert_true(fovea.budget == 0.16f && fovea.floor == 64 && fovea.window == 128 && fovea.sinks == 16);
}

/* The floor of 64 pages belongs to the default amount. */
static void an_amount_of_ones_own_has_no_floor(void **state) {
    (void)state;
    assert_int_equal(parse("fovea:budget=0.12").floor, 0);
    assert_int_equal(parse("fovea:budget=0.16").floor, 0);
    assert_int_equal(parse("fovea:pages=64").floor, 0);
    assert_int_equal(parse("fovea:top-p=0.9").floor, 0);
    assert_int_equal(parse("fovea:window=64").floor, 64);
    fv_policy floor = parse("fovea:floor=7");
    assert_true(floor.floor == 7 && floor.budget == 0.16f);
    fv_policy in_c = test_policy(FV_SELECTOR_FOVEA), in_text = parse("fovea:budget=0.12");
    fv_policy_set_budget(&in_c, 0.12f);
    assert_true(is_same(&in_c, &in_text));
    in_text = parse("fovea:pages=77"), fv_policy_set_pages(&in_c, 77);
    assert_true(is_same(&in_c, &in_text));
    in_text = parse("fovea:top-p=0.75"), fv_policy_set_top_p(&in_c, 0.75f);
    assert_true(is_same(&in_c, &in_text));
}

static void the_order_of_keys_does_not_matter(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"fovea:budget=0.2,floor=64", "fovea:floor=64,budget=0.2"},
        {"fovea:budget=0.2,floor=3", "fovea:floor=3,budget=0.2"},
        {"fovea:pages=50,window=64", "fovea:window=64,pages=50"},
        {"fovea:top-p=0.9,floor=64,cap=70", "fovea:cap=70,floor=64,top-p=0.9"},
        {"fovea:quality=0.1,certificate=on", "fovea:certificate=on,quality=0.1"},
        {"fovea:selector=cascade,tail=codes", "fovea:tail=codes,selector=cascade"},
        {"pattern:globals=none,window=3", "pattern:window=3,globals=none"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        fv_policy a = parse(pairs[i][0]), b = parse(pairs[i][1]);
        assert_true(is_same(&a, &b));
    }
    assert_int_equal(parse(pairs[0][1]).floor, 64);
}

static void every_key_has_its_field(void **state) {
    (void)state;
    fv_policy window = parse("window:window=8,sinks=2");
    assert_true(window.selector == FV_SELECTOR_WINDOW && window.window == 8 && window.sinks == 2);
    fv_policy pattern = parse("pattern:window=4,block=16,globals=3+0+3,log-stride=off,landmarks=off");
    assert_true(pattern.window == 4 && pattern.block == 16 && !pattern.log_stride && !pattern.landmarks);
    assert_true(pattern.globals_count == 3 && pattern.globals[0] == 3 && pattern.globals[1] == 0);
    assert_int_equal(parse("pattern:globals=none").globals_count, 0);
    fv_policy fovea = parse("fovea:top-p=0.5,floor=2,cap=9,window=1,sinks=0,dense-below=7,quality=12.5");
    assert_true(fovea.top_p == 0.5f && fovea.budget == 0 && fovea.floor == 2 && fovea.cap == 9 && fovea.window == 1);
    assert_true(fovea.sinks == 0 && fovea.dense_below == 7 && fovea.quality == 12.5f && fovea.certificate == 1);
    assert_int_equal(parse("fovea:dense-below=auto").dense_below, FV_POLICY_AUTO);
    assert_int_equal(parse("fovea:tail=codes").tail, 1);
    fv_policy share = parse("fovea:floor-share=0.25,floor=128,budget=0.12");
    assert_true(share.floor_share == 0.25f && share.floor == 128 && share.budget == 0.12f);
    assert_true(parse("fovea:budget=0.12").floor_share == 0.0f);
    assert_int_equal(parse("fovea:question=64,budget=0.12").question, 64);
    assert_int_equal(parse("window:question=64").question, 64);
    assert_int_equal(parse("fovea").question, FV_POLICY_QUESTION_DEFAULT);
    assert_int_equal(parse("fovea:question=0").question, 0);
    assert_int_equal(parse("window").question, 0);
    assert_int_equal(parse("fovea:certificate=on").certificate, 1);
    assert_true(parse("fovea:budget=1").budget == 1.0f && parse("fovea:budget=.5").budget == 0.5f);
    assert_true(parse("fovea:budget=0.1200000000000000000000000000000000000000000000").budget == 0.12f);
    assert_true(parse("fovea:budget=0.0000000000000000000000000000000000001").budget == 1e-37f);
}

static void check_format(const fv_policy *policy, const char *want) {
    char text[FV_POLICY_TEXT_BYTES], small[FV_POLICY_TEXT_BYTES];
    assert_int_equal(fv_policy_format(policy, text, sizeof text), FV_OK);
    if (want) assert_string_equal(text, want);
    size_t bytes = strlen(text) + 1;
    fv_policy back = parse(text);
    if (!is_same(&back, policy)) fail_msg("%s is another policy", text);
    memset(small, '#', sizeof small);
    assert_int_equal(fv_policy_format(policy, small, bytes - 1), FV_ERROR_FULL);
    assert_int_equal(small[0], '#');
    assert_int_equal(fv_policy_format(policy, small, bytes), FV_OK);
    assert_string_equal(small, text);
    assert_int_equal(small[bytes], '#');
}

static void texts_are_the_shortest(void **state) {
    (void)state;
    static const char *const same[] = {"dense",
                                       "window",
                                       "window:window=8",
                                       "pattern",
                                       "pattern:block=32,globals=0+7,landmarks=off",
                                       "pattern:globals=none",
                                       "fovea",
                                       "fovea:budget=0.12",
                                       "fovea:budget=0.16",
                                       "fovea:budget=0.2,floor=64",
                                       "fovea:budget=0.12,floor=128,floor-share=0.25",
                                       "fovea:budget=0.12,floor=128,question=64",
                                       "window:window=100,question=1",
                                       "fovea:pages=50,sinks=0",
                                       "fovea:top-p=0.95,cap=700",
                                       "fovea:selector=cascade",
                                       "fovea:quality=0.1",
                                       "fovea:certificate=on",
                                       "fovea:budget=0.000001234,tail=codes",
                                       "fovea:quality=999999.9",
                                       "fovea:dense-below=0"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        fv_policy policy = parse(same[i]);
        check_format(&policy, same[i]);
    }
    const char *const longer[][2] = {{"fovea:budget=0.16,floor=64", "fovea"},
                                     {"fovea:quality=100,certificate=on", "fovea:quality=100"},
                                     {"fovea:budget=0.5000", "fovea:budget=0.5"},
                                     {"window:sinks=16,window=512", "window"}};
    for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++) {
        fv_policy policy = parse(longer[i][0]);
        check_format(&policy, longer[i][1]);
    }
}

static float any_share(test_random *random) {
    static const float scales[] = {1.0f, 1e-3f, 1e-9f, 1e-20f, 1e-30f};
    float share = (float)test_random_in(random, 1, 1u << 24) / (float)(1u << 24);
    return share * scales[test_random_in(random, 0, 4)];
}

static fv_policy any_policy(test_random *random) {
    fv_policy policy = test_policy((fv_selector)test_random_in(random, 0, FV_SELECTOR_COUNT - 1));
    bool fovea = policy.selector == FV_SELECTOR_FOVEA;
    if (policy.selector == FV_SELECTOR_DENSE) return policy;
    policy.window = test_random_in(random, 1, 3000);
    if (policy.selector == FV_SELECTOR_PATTERN) {
        policy.block = 16 * test_random_in(random, 1, 9);
        policy.globals_count = test_random_in(random, 0, FV_POLICY_GLOBALS);
        memset(policy.globals, 0, sizeof policy.globals);
        for (uint32_t i = 0; i < policy.globals_count; i++) policy.globals[i] = test_random_in(random, 0, 1u << 30);
        policy.log_stride = test_random_in(random, 0, 1);
        policy.landmarks = test_random_in(random, 0, 1);
        return policy;
    }
    policy.sinks = test_random_in(random, 0, 40);
    if (policy.selector == FV_SELECTOR_WINDOW) return policy;
    uint32_t amount = test_random_in(random, 0, fovea ? 3 : 2);
    if (amount == 1) fv_policy_set_budget(&policy, any_share(random));
    if (amount == 2) fv_policy_set_pages(&policy, fv_policy_min_pages(&policy) + test_random_in(random, 0, 99));
    if (amount == 3) fv_policy_set_top_p(&policy, any_share(random));
    if (test_random_in(random, 0, 1)) policy.floor = test_random_in(random, 0, 100);
    if (test_random_in(random, 0, 1)) policy.floor_share = any_share(random);
    if (test_random_in(random, 0, 1)) policy.cap = test_random_in(random, 100, 1u << 30);
    if (test_random_in(random, 0, 1)) policy.dense_below = test_random_in(random, 0, 9999);
    policy.certificate = fovea && test_random_in(random, 0, 2) == 0;
    if (policy.certificate && test_random_in(random, 0, 1)) policy.quality = 1e6f * any_share(random);
    policy.tail = !policy.certificate && test_random_in(random, 0, 1);
    return policy;
}

static void what_is_written_is_read_back(void **state) {
    (void)state;
    test_random random = test_random_make(7);
    for (int i = 0; i < 20000; i++) {
        fv_policy policy = any_policy(&random);
        assert_int_equal(fv_policy_check(&policy), FV_OK);
        check_format(&policy, NULL);
    }
}

static void what_text_cannot_say_is_not_written(void **state) {
    (void)state;
    char text[FV_POLICY_TEXT_BYTES] = "untouched";
    const fv_policy pattern = test_policy(FV_SELECTOR_PATTERN), fovea = test_policy(FV_SELECTOR_FOVEA);
    const uint8_t keep[1] = {1};
    const uint32_t until[1] = {1};
    const uint16_t share[1] = {1024};
    fv_policy bad[7];
    for (size_t i = 0; i < 4; i++) bad[i] = pattern;
    for (size_t i = 4; i < 7; i++) bad[i] = fovea;
    bad[0].causal = 0;
    bad[1].keep = keep, bad[1].keep_tokens = 1;
    bad[2].keep_until = until, bad[2].keep_tokens = 1;
    bad[3].block = 20;
    bad[4].head_share = share, bad[4].head_share_count = 1;
    bad[5].budget = 2.0f;
    bad[6].window = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(fv_policy_format(&bad[i], text, sizeof text), FV_ERROR_POLICY);
    assert_int_equal(fv_policy_format(NULL, text, sizeof text), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_policy_format(&fovea, NULL, sizeof text), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_policy_format(&fovea, text, 0), FV_ERROR_FULL);
    assert_string_equal(text, "untouched");
}

/* The key, what was found, what is allowed. */
static void refusals_say_what_is_allowed(void **state) {
    (void)state;
    static const char *const refused[][4] = {
        {"", "''", "dense, window, pattern, fovea"},
        {"sparse", "'sparse'", "dense, window, pattern, fovea"},
        {"fovea ", "'fovea '", "dense"},
        {"dense:window=1", "no keys", "'window'"},
        {"window:windw=3", "'windw'", "window, sinks"},
        {"window:", "''", "window, sinks"},
        {"window:window=3,", "''", "window, sinks"},
        {"window:window", "needs a value", "window=..."},
        {"window:window=", "window takes a whole number from 1 to 1073741824", "''"},
        {"window:window=0", "from 1 to", "'0'"},
        {"window:window=-1", "from 1 to", "'-1'"},
        {"window:sinks=1e3", "from 0 to", "'1e3'"},
        {"window:sinks=4294967296", "from 0 to", "'4294967296'"},
        {"window:sinks=2,sinks=2", "sinks is given twice", ""},
        {"pattern:block=20", "a multiple of 16", "'20'"},
        {"pattern:landmarks=yes", "landmarks takes off or on", "'yes'"},
        {"pattern:globals=1+", "globals takes token positions", "none"},
        {"pattern:globals=", "globals takes token positions", "none"},
        {"pattern:globals=0+1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16", "at most 16", "'0+1"},
        {"fovea:windw=3", "'windw'",
         "selector, budget, pages, top-p, floor, floor-share, cap, window, sinks, dense-below, tail"},
        {"fovea:budget=1.5", "budget takes a number above 0, at most 1", "'1.5'"},
        {"fovea:budget=0", "budget takes a number above 0, at most 1", "'0'"},
        {"fovea:budget=nan", "above 0", "'nan'"},
        {"fovea:budget=-0.1", "above 0", "'-0.1'"},
        {"fovea:budget=1e-1", "above 0", "'1e-1'"},
        {"fovea:budget=0,5", "above 0", "'0'"},
        {"fovea:budget=0.1.2", "above 0", "'0.1.2'"},
        {"fovea:budget=.", "above 0", "'.'"},
        {"fovea:top-p=1.01", "top-p takes a number above 0, at most 1", "'1.01'"},
        {"fovea:quality=1000001", "quality takes a number above 0, at most 1000000", "'1000001'"},
        {"fovea:pages=9", "pages takes at least 10", "'9'"},
        {"fovea:pages=50,budget=0.1", "one of budget, pages and top-p", ""},
        {"fovea:budget=0.1,top-p=0.1", "one of budget, pages and top-p", ""},
        {"fovea:budget=0.1,budget=0.1", "budget is given twice", ""},
        {"fovea:floor=9,cap=8", "floor takes at most cap, which is 8", "'9'"},
        {"fovea:floor-share=1.5", "floor-share takes a number above 0, at most 1", "'1.5'"},
        {"fovea:floor-share=0", "floor-share takes a number above 0", "'0'"},
        {"fovea:cap=63", "floor takes at most cap, which is 63", "'64'"},
        {"fovea:selector=quest", "'quest'", "there are: shadow, cascade"},
        {"fovea:selector=cascade,top-p=0.9", "top-p needs selector=shadow", ""},
        {"fovea:selector=cascade,certificate=on", "certificate and quality need selector=shadow", ""},
        {"fovea:quality=0.1,selector=cascade", "certificate and quality need selector=shadow", ""},
        {"fovea:quality=0.1,certificate=off", "quality needs a certificate", "certificate=off"},
        {"fovea:tail=on", "tail takes off or codes", "'on'"},
        {"fovea:tail=codes,certificate=on", "tail=codes has no certificate", ""},
        {"fovea:dense-below=some", "auto or a whole number", "'some'"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        fv_message message = {""};
        fv_policy policy, before;
        memset(&policy, 0x5a, sizeof policy);
        before = policy;
        assert_int_equal(fv_policy_parse(&policy, refused[i][0], &message), FV_ERROR_POLICY);
        assert_memory_equal(&policy, &before, sizeof policy);
        for (size_t word = 1; word < 3; word++)
            if (!strstr(message.text, refused[i][word]))
                fail_msg("%s: '%s' does not say '%s'", refused[i][0], message.text, refused[i][word]);
        assert_int_equal(fv_policy_parse(&policy, refused[i][0], NULL), FV_ERROR_POLICY);
    }
    fv_policy policy;
    assert_int_equal(fv_policy_parse(NULL, "dense", NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_policy_parse(&policy, NULL, NULL), FV_ERROR_ARGUMENT);
}

/* Makes a locale whose point is a comma, since few machines have one, and takes it. */
static bool take_comma_locale(void) {
    char folder[] = "/tmp/policy_text_test.XXXXXX", path[100], command[300];
    if (!mkdtemp(folder)) return false;
    snprintf(path, sizeof path, "%s/comma", folder);
    FILE *file = fopen(path, "w");
    if (!file) return false;
    fputs("comment_char %\nescape_char /\nLC_NUMERIC\ndecimal_point \"<U002C>\"\nthousands_sep \"\"\ngrouping -1\n"
          "END LC_NUMERIC\n",
          file);
    fclose(file);
    snprintf(command, sizeof command, "localedef -c -f ANSI_X3.4-1968 -i %s %s/xx_XX >/dev/null 2>&1", path, folder);
    int made = system(command); /* warns of what is left out: the file alone says whether it worked */
    setenv("LOCPATH", folder, 1);
    bool taken = made != -1 && setlocale(LC_NUMERIC, "xx_XX") != NULL;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == 0 && taken;
}

/* Where the point is a comma, strtod() would stop at it and snprintf() would write one. */
static void numbers_do_not_depend_on_the_locale(void **state) {
    (void)state;
    if (!take_comma_locale()) {
        print_message("skip: no locale with a comma could be made\n");
        skip();
    }
    char comma[8];
    snprintf(comma, sizeof comma, "%.1f", 0.5);
    assert_string_equal(comma, "0,5"); /* the test says something */
    fv_policy policy = parse("fovea:budget=0.12");
    assert_true(policy.budget == 0.12f);
    check_format(&policy, "fovea:budget=0.12");
    assert_int_equal(fv_policy_parse(&policy, "fovea:budget=0,12", NULL), FV_ERROR_POLICY);
    setlocale(LC_ALL, "C");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_alone_are_the_defaults_of_c),
        cmocka_unit_test(an_amount_of_ones_own_has_no_floor),
        cmocka_unit_test(the_order_of_keys_does_not_matter),
        cmocka_unit_test(every_key_has_its_field),
        cmocka_unit_test(texts_are_the_shortest),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(what_text_cannot_say_is_not_written),
        cmocka_unit_test(refusals_say_what_is_allowed),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
