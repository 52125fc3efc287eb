/* code_questions.c - questions about code: the definition of one function among many, and a constant through the
 * imports of two files. */
#include "measure/question_maker.h"
#include <stdio.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const char *const verbs[] = {"load",  "merge", "parse", "split", "rank", "trim",  "pack",
                                    "count", "sort",  "check", "scale", "open", "print", "store"};
static const char *const nouns[] = {"row",   "page",  "ledger", "ticket", "route", "batch", "token",
                                    "frame", "label", "basket", "report", "queue", "field", "record"};
/* Modules that import, one for each question: no word of the keys. */
static const char *const users[] = {"amber", "basalt", "cobalt",  "dahlia", "ebony",  "fennel", "garnet",
                                    "hazel", "indigo", "jasmine", "kiwi",   "lilac",  "maple",  "nectar",
                                    "opal",  "poplar", "quartz",  "russet", "sienna", "topaz"};
_Static_assert(COUNT(users) == FV_EVAL_QUESTIONS_MAX, "each question has a module");

void fv_code_filler(fv_maker *make, char *text, size_t bytes) {
    uint64_t *state = &make->state;
    const char *noun = nouns[fv_draw_below(state, COUNT(nouns))], *given = nouns[fv_draw_below(state, COUNT(nouns))];
    const char *verb = verbs[fv_draw_below(state, COUNT(verbs))];
    unsigned version = (unsigned)fv_draw_below(state, 1000), factor = 2 + (unsigned)fv_draw_below(state, 8);
    snprintf(text, bytes, "def %s_%s_%u(%s):\n    return %u * %s + %u", verb, noun, version, given, factor, given,
             (unsigned)fv_draw_below(state, 1000));
}

void fv_make_definition(fv_maker *make, size_t i, fv_eval_question *question) {
    const char *key = fv_question_keys[make->order[i]];
    unsigned number = fv_maker_number(make);
    fv_fact *said = fv_maker_fact(make, i, fv_maker_place(make, i));
    snprintf(said->text, sizeof said->text, "def get_%s(order):\n    return order + %u", key, number);
    snprintf(question->prompt, sizeof question->prompt,
             "\n\n\n# The function get_%s from above, called once:\nresult = get_%s(0)\n"
             "# It is defined as:\ndef get_%s(order):\n    return order +",
             key, key, key);
    snprintf(question->expected[0], sizeof question->expected[0], "%u", number);
}

/* amber.py imports the constant of another module, which stands somewhere else. */
void fv_make_imports(fv_maker *make, size_t i, fv_eval_question *question) {
    const char *key = fv_question_keys[make->order[i]], *user = users[i];
    unsigned number = fv_maker_number(make);
    fv_fact *defined = fv_maker_fact(make, i, fv_maker_place(make, i));
    snprintf(defined->text, sizeof defined->text, "# file: %s.py\nLIMIT = %u", key, number);
    fv_fact *imported = fv_maker_fact(make, i, fv_draw_below(&make->state, make->sentences));
    snprintf(imported->text, sizeof imported->text, "# file: %s.py\nfrom %s import LIMIT", user, key);
    snprintf(question->prompt, sizeof question->prompt,
             "\n\n\n# file: main.py\nimport %s\n# %s.py imports LIMIT from another file above.\nassert %s.LIMIT ==",
             user, user, user);
    snprintf(question->expected[0], sizeof question->expected[0], "%u", number);
}
