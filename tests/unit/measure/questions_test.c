/* questions_test.c - documents of `fovea eval`: every fact is in the text, in the place that is promised, and answers
 * are judged by their first word. */
#include "fovea/measure/questions.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t occurrences(const char *text, const char *word) {
    size_t count = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) count++;
    return count;
}

static void every_expected_answer_is_in_its_document(void **state) {
    (void)state;
    const fv_eval_task tasks[] = {FV_EVAL_TASK_NEEDLE, FV_EVAL_TASK_NEEDLES, FV_EVAL_TASK_PARAPHRASE,
                                  FV_EVAL_TASK_DEFINITION, FV_EVAL_TASK_IMPORTS};
    for (size_t t = 0; t < sizeof tasks / sizeof tasks[0]; t++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            fv_eval_document document = {.count = 0};
            assert_int_equal(fv_eval_document_make(tasks[t], seed, 300, FV_EVAL_QUESTIONS_MAX, &document), FV_OK);
            for (size_t i = 0; i < document.count; i++) {
                const fv_eval_question *question = &document.questions[i];
                assert_int_equal(occurrences(document.text.bytes, question->expected[0]), 1);
                assert_null(strstr(question->prompt, question->expected[0]));
            }
            fv_text_free(&document.text);
        }
}

/* The number is in the file that the asked one imports from; the question names the importing one alone. */
static void imports_lead_to_the_number(void **state) {
    (void)state;
    fv_eval_document document = {.count = 0};
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_IMPORTS, 3, 200, 20, &document), FV_OK);
    for (size_t i = 0; i < 20; i++) {
        const fv_eval_question *question = &document.questions[i];
        char user[32], wanted[64], key[32];
        assert_int_equal(sscanf(strstr(question->prompt, "import "), "import %31s", user), 1);
        snprintf(wanted, sizeof wanted, "# file: %s.py\nfrom ", user);
        const char *at = strstr(document.text.bytes, wanted);
        assert_non_null(at);
        assert_int_equal(sscanf(at + strlen(wanted), "%31s import LIMIT", key), 1);
        assert_null(strstr(question->prompt, key));
        snprintf(wanted, sizeof wanted, "# file: %s.py\nLIMIT = %s", key, question->expected[0]);
        assert_int_equal(occurrences(document.text.bytes, wanted), 1);
    }
    fv_text_free(&document.text);
}

static void a_definition_is_one_of_many(void **state) {
    (void)state;
    fv_eval_document document = {.count = 0};
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_DEFINITION, 3, 180, 20, &document), FV_OK);
    assert_int_equal(occurrences(document.text.bytes, "\ndef ") + 1, 200);
    for (size_t i = 0; i < 20; i++) {
        char called[64], definition[128];
        assert_int_equal(sscanf(strstr(document.questions[i].prompt, "result = "), "result = %63[^(]", called), 1);
        snprintf(definition, sizeof definition, "def %s(order):\n    return order + %s", called,
                 document.questions[i].expected[0]);
        assert_int_equal(occurrences(document.text.bytes, definition), 1);
    }
    fv_text_free(&document.text);
}

static void questions_are_spread_from_beginning_to_end(void **state) {
    (void)state;
    fv_eval_document document = {.count = 0};
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_NEEDLE, 7, 380, 20, &document), FV_OK);
    for (size_t i = 0; i < 20; i++) {
        double depth = document.questions[i].depth, wanted = (double)i / 19;
        const char *at = strstr(document.text.bytes, document.questions[i].expected[0]);
        double place = (double)(at - document.text.bytes) / (double)document.text.length;
        assert_true(depth > wanted - 0.01 && depth < wanted + 0.01);
        assert_true(place > depth - 0.05 && place < depth + 0.05);
    }
    fv_text_free(&document.text);
}

/* The sentence of `text` that says something of `name`. */
static void copy_sentence(const char *text, const char *name, char *sentence, size_t bytes) {
    const char *from = strstr(text, name);
    assert_non_null(from);
    size_t length = strcspn(from, ".");
    assert_true(length < bytes);
    memcpy(sentence, from, length);
    sentence[length] = 0;
}

static void paraphrases_share_no_long_word_with_their_facts(void **state) {
    static const char before[] = "Which person in the text above ";
    fv_eval_document document = {.count = 0};
    (void)state;
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_PARAPHRASE, 1, 100, FV_EVAL_QUESTIONS_MAX, &document), FV_OK);
    for (size_t i = 0; i < document.count; i++) {
        char fact[128], asked[128];
        const char *question = strstr(document.questions[i].prompt, before);
        assert_non_null(question);
        copy_sentence(document.text.bytes, document.questions[i].expected[0], fact, sizeof fact);
        snprintf(asked, sizeof asked, "%.*s", (int)strcspn(question + strlen(before), "?"), question + strlen(before));
        assert_true(strlen(asked) > 4);
        for (char *word = strtok(asked, " "); word; word = strtok(NULL, " "))
            if (strlen(word) > 4) assert_null(strstr(fact, word));
    }
    fv_text_free(&document.text);
}

static void bad_arguments_are_refused(void **state) {
    fv_eval_document document = {.count = 0};
    (void)state;
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_COUNT, 1, 10, 1, &document), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_NEEDLE, 1, 10, 0, &document), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_NEEDLE, 1, 10, FV_EVAL_QUESTIONS_MAX + 1, &document),
                     FV_ERROR_ARGUMENT);
    assert_null(document.text.bytes);
}

static void counting_says_a_thing_as_often_as_expected(void **state) {
    (void)state;
    fv_eval_document document = {.count = 0};
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_COUNTING, 3, 200, 20, &document), FV_OK);
    size_t said = 0, expected = 0;
    for (size_t i = 0; i < 20; i++) expected += (size_t)atoi(document.questions[i].expected[0]);
    said = occurrences(document.text.bytes, " fell down.");
    assert_int_equal(said, expected);
    fv_text_free(&document.text);
}

static void the_second_of_two_variables_has_the_number_of_the_first(void **state) {
    (void)state;
    fv_eval_document document = {.count = 0};
    assert_int_equal(fv_eval_document_make(FV_EVAL_TASK_VARIABLES, 3, 200, 20, &document), FV_OK);
    for (size_t i = 0; i < 20; i += 2)
        assert_string_equal(document.questions[i].expected[0], document.questions[i + 1].expected[0]);
    fv_text_free(&document.text);
}

static void the_same_seed_gives_the_same_document(void **state) {
    (void)state;
    for (int task = 0; task < FV_EVAL_TASK_COUNT; task++) {
        fv_eval_document one = {.count = 0}, two = {.count = 0}, other = {.count = 0};
        assert_int_equal(fv_eval_document_make((fv_eval_task)task, 5, 100, 10, &one), FV_OK);
        assert_int_equal(fv_eval_document_make((fv_eval_task)task, 5, 100, 10, &two), FV_OK);
        assert_int_equal(fv_eval_document_make((fv_eval_task)task, 6, 100, 10, &other), FV_OK);
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
    fv_eval_question question = {.expected = {"12345", ""}}, count = {.expected = {"3", "three"}};
    assert_true(fv_eval_answer_is_right(&question, " 12345."));
    assert_true(fv_eval_answer_is_right(&question, "**12345** and more"));
    assert_false(fv_eval_answer_is_right(&question, " 123456"));
    assert_false(fv_eval_answer_is_right(&question, " 54321 or 12345"));
    assert_false(fv_eval_answer_is_right(&question, "\n12345"));
    assert_false(fv_eval_answer_is_right(&question, ""));
    assert_true(fv_eval_answer_is_right(&count, " three times"));
    assert_true(fv_eval_answer_is_right(&count, " 3"));
    assert_false(fv_eval_answer_is_right(&count, " 30"));
}

static void tasks_are_named_or_all(void **state) {
    (void)state;
    bool tasks[FV_EVAL_TASK_COUNT];
    fv_message message = {""};
    assert_int_equal(fv_eval_tasks_parse(NULL, tasks, &message), FV_OK);
    for (int i = 0; i < FV_EVAL_TASK_COUNT; i++) assert_true(tasks[i]);
    assert_int_equal(fv_eval_tasks_parse("needles,counting", tasks, &message), FV_OK);
    for (int i = 0; i < FV_EVAL_TASK_COUNT; i++)
        assert_int_equal(tasks[i], i == FV_EVAL_TASK_NEEDLES || i == FV_EVAL_TASK_COUNTING);
    assert_int_equal(fv_eval_tasks_parse("needle,need", tasks, &message), FV_ERROR_ARGUMENT);
    assert_false(tasks[FV_EVAL_TASK_NEEDLE]);
    assert_non_null(strstr(message.text, "'need'"));
    assert_non_null(strstr(message.text, "there are: needle, needles, paraphrase, variables, counting"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_expected_answer_is_in_its_document),
        cmocka_unit_test(imports_lead_to_the_number),
        cmocka_unit_test(a_definition_is_one_of_many),
        cmocka_unit_test(questions_are_spread_from_beginning_to_end),
        cmocka_unit_test(paraphrases_share_no_long_word_with_their_facts),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(counting_says_a_thing_as_often_as_expected),
        cmocka_unit_test(the_second_of_two_variables_has_the_number_of_the_first),
        cmocka_unit_test(the_same_seed_gives_the_same_document),
        cmocka_unit_test(an_answer_counts_by_its_first_word),
        cmocka_unit_test(tasks_are_named_or_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
