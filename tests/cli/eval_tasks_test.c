/* eval_tasks_test.c - documents of `fovea eval`: every fact is in the text, in the place that is promised, and answers
 * are judged by their first word. */
#include "../../cli/eval_tasks.c"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static size_t occurrences(const char *text, const char *word) {
    size_t count = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) count++;
    return count;
}

static void every_expected_answer_is_in_its_document(void **state) {
    (void)state;
    const eval_task tasks[] = {EVAL_TASK_NEEDLE, EVAL_TASK_NEEDLES, EVAL_TASK_PARAPHRASE};
    for (size_t t = 0; t < COUNT(tasks); t++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            eval_document document = {.count = 0};
            assert_int_equal(eval_document_make(tasks[t], seed, 300, EVAL_QUESTIONS_MOST, &document), FV_OK);
            for (size_t i = 0; i < document.count; i++) {
                const eval_question *question = &document.questions[i];
                assert_int_equal(occurrences(document.text.bytes, question->expected[0]), 1);
                assert_null(strstr(question->prompt, question->expected[0]));
            }
            fv_text_free(&document.text);
        }
}

static void questions_are_spread_from_beginning_to_end(void **state) {
    (void)state;
    eval_document document = {.count = 0};
    assert_int_equal(eval_document_make(EVAL_TASK_NEEDLE, 7, 380, 20, &document), FV_OK);
    for (size_t i = 0; i < 20; i++) {
        double depth = document.questions[i].depth, wanted = (double)i / 19;
        const char *at = strstr(document.text.bytes, document.questions[i].expected[0]);
        double place = (double)(at - document.text.bytes) / (double)document.text.length;
        assert_true(depth > wanted - 0.01 && depth < wanted + 0.01);
        assert_true(place > depth - 0.05 && place < depth + 0.05);
    }
    fv_text_free(&document.text);
}

static void paraphrases_share_no_long_word_with_their_facts(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(deeds); i++) {
        char words[128];
        snprintf(words, sizeof words, "%s", deeds[i][1]);
        for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
            if (strlen(word) > 4) assert_null(strstr(deeds[i][0], word));
    }
}

static void counting_says_a_thing_as_often_as_expected(void **state) {
    (void)state;
    eval_document document = {.count = 0};
    assert_int_equal(eval_document_make(EVAL_TASK_COUNTING, 3, 200, 20, &document), FV_OK);
    size_t said = 0, expected = 0;
    for (size_t i = 0; i < 20; i++) expected += (size_t)atoi(document.questions[i].expected[0]);
    said = occurrences(document.text.bytes, " fell down.");
    assert_int_equal(said, expected);
    fv_text_free(&document.text);
}

static void the_second_of_two_variables_has_the_number_of_the_first(void **state) {
    (void)state;
    eval_document document = {.count = 0};
    assert_int_equal(eval_document_make(EVAL_TASK_VARIABLES, 3, 200, 20, &document), FV_OK);
    for (size_t i = 0; i < 20; i += 2)
        assert_string_equal(document.questions[i].expected[0], document.questions[i + 1].expected[0]);
    fv_text_free(&document.text);
}

static void the_same_seed_gives_the_same_document(void **state) {
    (void)state;
    for (int task = 0; task < EVAL_TASK_COUNT; task++) {
        eval_document one = {.count = 0}, two = {.count = 0}, other = {.count = 0};
        assert_int_equal(eval_document_make((eval_task)task, 5, 100, 10, &one), FV_OK);
        assert_int_equal(eval_document_make((eval_task)task, 5, 100, 10, &two), FV_OK);
        assert_int_equal(eval_document_make((eval_task)task, 6, 100, 10, &other), FV_OK);
        assert_string_equal(one.text.bytes, two.text.bytes);
        assert_string_not_equal(one.text.bytes, other.text.bytes);
        assert_memory_equal(one.questions, two.questions, sizeof one.questions);
        fv_text_free(&one.text);
        fv_text_free(&two.text);
        fv_text_free(&other.text);
    }
}

static void an_answer_counts_by_its_first_word(void **state) {
    (void)state;
    eval_question question = {.expected = {"12345", ""}}, count = {.expected = {"3", "three"}};
    assert_true(eval_answer_is_right(&question, " 12345."));
    assert_true(eval_answer_is_right(&question, "**12345** and more"));
    assert_false(eval_answer_is_right(&question, " 123456"));
    assert_false(eval_answer_is_right(&question, " 54321 or 12345"));
    assert_false(eval_answer_is_right(&question, "\n12345"));
    assert_false(eval_answer_is_right(&question, ""));
    assert_true(eval_answer_is_right(&count, " three times"));
    assert_true(eval_answer_is_right(&count, " 3"));
    assert_false(eval_answer_is_right(&count, " 30"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_expected_answer_is_in_its_document),
        cmocka_unit_test(questions_are_spread_from_beginning_to_end),
        cmocka_unit_test(paraphrases_share_no_long_word_with_their_facts),
        cmocka_unit_test(counting_says_a_thing_as_often_as_expected),
        cmocka_unit_test(the_second_of_two_variables_has_the_number_of_the_first),
        cmocka_unit_test(the_same_seed_gives_the_same_document),
        cmocka_unit_test(an_answer_counts_by_its_first_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
