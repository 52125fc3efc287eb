/* questions.c - one function per task writes a fact and its question; the document is filler with facts in between. */
#include "measure/question_maker.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const char *const names[] = {"Amara", "Bruno",  "Celia",   "Dmitri", "Esther", "Farid", "Greta",
                                    "Hugo",  "Ingrid", "Jonas",   "Keiko",  "Lucia",  "Mateo", "Nadia",
                                    "Oscar", "Petra",  "Quentin", "Rosa",   "Stefan", "Tamar"};
/* Sentences that a number ends: each of a kind of its own, so that a small model can tell them apart. */
static const char *const sayings[] = {"The train to Lisbon has the number",
                                      "The library lends the atlas with the mark",
                                      "The safe of the bank opens with the code",
                                      "The farm sold its potatoes with invoice",
                                      "The museum bought a painting, catalogue entry",
                                      "The lighthouse keeper calls the harbour at extension",
                                      "The bicycle was stolen from stand",
                                      "The hotel gave the violinist room",
                                      "The satellite was registered as object",
                                      "The winning ticket of the lottery was",
                                      "The professor's telephone answers at",
                                      "The chemist keeps the acid in bottle",
                                      "The postman delivered parcel",
                                      "The submarine reached a depth of feet:",
                                      "The bakery's licence is registered under",
                                      "The astronomer named the comet after page",
                                      "The tailor wrote the order down as",
                                      "The election was decided by votes:",
                                      "The dentist filed the X-ray under",
                                      "The orchestra's flight leaves from gate"};
/* What a person does, and the question for the person: no word of content is in both. */
static const char *const deeds[][2] = {{"practises the violin each morning", "plays a string instrument"},
                                       {"bakes bread before sunrise", "makes loaves"},
                                       {"owns two kittens", "has young cats as pets"},
                                       {"was born in Paris", "comes from the French capital"},
                                       {"repairs broken clocks", "mends timepieces"},
                                       {"never eats meat", "is a vegetarian"},
                                       {"flies aeroplanes for a living", "works as a pilot"},
                                       {"teaches children arithmetic", "gives lessons in mathematics"},
                                       {"paints portraits", "is an artist who draws faces"},
                                       {"grows roses behind the house", "keeps a flower garden"},
                                       {"swims in the lake even when it snows", "enjoys bathing during winter"},
                                       {"collects old coins", "is interested in ancient money"},
                                       {"writes poems at night", "composes verse after dark"},
                                       {"treats sick patients", "is a doctor"},
                                       {"sails across the ocean alone", "travels by boat without company"},
                                       {"speaks Portuguese at home", "uses the language of Brazil with family"},
                                       {"catches fish for the market", "earns money with a net and a hook"},
                                       {"studies the stars through a telescope", "is an astronomer"},
                                       {"climbs the highest mountains", "reaches tall summits on foot"},
                                       {"builds tables out of oak", "is a carpenter"}};
static const char *const numerals[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"};

static const char *const qualities[] = {"quiet", "narrow", "dusty", "bright", "old",  "distant", "heavy",
                                        "plain", "warm",   "empty", "broad",  "grey", "tidy",    "slow"};
static const char *const things[] = {"road",  "window", "basket", "bridge", "letter", "garden wall", "kettle",
                                     "train", "roof",   "ladder", "river",  "stove",  "curtain",     "wagon"};
static const char *const acts[] = {"stands beside", "leads to", "was left near", "is older than", "belongs with",
                                   "looks like",    "hides",    "was moved to",  "rests against", "faces"};
static const char *const times[] = {"in the afternoon",  "most of the year", "as everyone knows", "after the rain",
                                    "when nobody looks", "on market days",   "since last spring", "before supper"};

static void make_needle(fv_maker *make, size_t i, fv_eval_question *question) {
    const char *saying = sayings[make->order[i]];
    unsigned number = fv_maker_number(make);
    fv_fact *said = fv_maker_fact(make, i, fv_maker_place(make, i));
    snprintf(said->text, sizeof said->text, "%s %u.", saying, number);
    snprintf(question->prompt, sizeof question->prompt,
             "\n\nQuestion: Which number does the text above give?\nAnswer: %s", saying);
    snprintf(question->expected[0], sizeof question->expected[0], "%u", number);
}

/* The same saying with two numbers, in two places; one is told, the other is asked for. */
static void make_needles(fv_maker *make, size_t i, fv_eval_question *question) {
    const char *saying = sayings[make->order[i]];
    size_t places[2] = {fv_maker_place(make, i), fv_draw_below(&make->state, make->sentences)};
    unsigned numbers[2] = {fv_maker_number(make), fv_maker_number(make)};
    for (int k = 0; k < 2; k++) {
        fv_fact *said = fv_maker_fact(make, i, places[k]);
        snprintf(said->text, sizeof said->text, "%s %u.", saying, numbers[k]);
    }
    snprintf(question->prompt, sizeof question->prompt,
             "\n\nQuestion: Which two numbers does the text above give?\nAnswer: %s %u. %s", saying, numbers[1],
             saying);
    snprintf(question->expected[0], sizeof question->expected[0], "%u", numbers[0]);
}

static void make_paraphrase(fv_maker *make, size_t i, fv_eval_question *question) {
    const char *name = names[i], *const *deed = deeds[make->order[i]];
    fv_fact *said = fv_maker_fact(make, i, fv_maker_place(make, i));
    snprintf(said->text, sizeof said->text, "%s %s.", name, deed[0]);
    snprintf(question->prompt, sizeof question->prompt,
             "\n\nQuestion: Which person in the text above %s?\nAnswer: The person's name is", deed[1]);
    snprintf(question->expected[0], sizeof question->expected[0], "%s", name);
}

/* Questions come in pairs: a variable with a number, and one that is said to be the same as it, in another place. */
static void make_variables(fv_maker *make, size_t i, fv_eval_question *question) {
    const char *key = fv_question_keys[make->order[i]];
    fv_fact *said = fv_maker_fact(make, i, fv_maker_place(make, i));
    if (i % 2 == 0) {
        unsigned number = fv_maker_number(make);
        snprintf(said->text, sizeof said->text, "The variable %s has the value %u.", key, number);
        snprintf(question->expected[0], sizeof question->expected[0], "%u", number);
    } else {
        snprintf(said->text, sizeof said->text, "The variable %s has the same value as the variable %s.", key,
                 fv_question_keys[make->order[i - 1]]);
        memcpy(question->expected[0], question[-1].expected[0], sizeof question->expected[0]);
    }
    snprintf(question->prompt, sizeof question->prompt,
             "\n\nQuestion: Which value has the variable %s in the text above?\n"
             "Answer: The variable %s has the value",
             key, key);
}

static void make_counting(fv_maker *make, size_t i, fv_eval_question *question) {
    const char *key = fv_question_keys[make->order[i]];
    size_t times_said = 1 + fv_draw_below(&make->state, 9);
    for (size_t k = 0; k < times_said; k++) {
        fv_fact *said = fv_maker_fact(make, i, fv_draw_below(&make->state, make->sentences));
        snprintf(said->text, sizeof said->text, "Then the %s fell down.", key);
    }
    snprintf(question->prompt, sizeof question->prompt,
             "\n\nQuestion: How many times did the %s fall down in the text above?\n"
             "Answer: The number of times that the %s fell down is",
             key, key);
    snprintf(question->expected[0], sizeof question->expected[0], "%zu", times_said);
    snprintf(question->expected[1], sizeof question->expected[1], "%s", numerals[times_said]);
}

typedef void make_fn(fv_maker *make, size_t i, fv_eval_question *question);
static make_fn *const makers[] = {make_needle,   make_needles,       make_paraphrase, make_variables,
                                  make_counting, fv_make_definition, fv_make_imports};

const char *fv_eval_task_name(fv_eval_task task) {
#define TASK_NAME(NAME, name, about) #name,
    static const char *const task_names[] = {FV_EVAL_TASK_LIST(TASK_NAME)};
#undef TASK_NAME
    return task_names[task];
}

#define TASK_WORD(NAME, name, about) ", " #name
static const char task_list[] = FV_EVAL_TASK_LIST(TASK_WORD);
#undef TASK_WORD

fv_status fv_eval_tasks_parse(const char *list, bool tasks[FV_EVAL_TASK_COUNT], fv_message *message) {
    bool named[FV_EVAL_TASK_COUNT] = {false};
    for (int task = 0; !list && task < FV_EVAL_TASK_COUNT; task++) named[task] = true;
    while (list && *list) {
        size_t length = strcspn(list, ",");
        int found = -1;
        for (int task = 0; task < FV_EVAL_TASK_COUNT; task++) {
            const char *name = fv_eval_task_name((fv_eval_task)task);
            if (strlen(name) == length && memcmp(name, list, length) == 0) found = task;
        }
        if (found < 0)
            return fv_message_set(message, FV_ERROR_ARGUMENT, "there is no '%.*s'; there are: %s", (int)length, list,
                                  task_list + strlen(", "));
        named[found] = true;
        list += length + (list[length] == ',');
    }
    memcpy(tasks, named, sizeof named);
    return FV_OK;
}

static fv_status add_sentence(const fv_maker *make, const char *sentence) {
    fv_text *text = &make->document->text;
    const char *between = make->code ? "\n\n" : " ";
    fv_status status = text->length ? fv_text_append(text, between, strlen(between)) : FV_OK;
    return status == FV_OK ? fv_text_append(text, sentence, strlen(sentence)) : status;
}

static fv_status add_filler(fv_maker *make) {
    char sentence[160];
    uint64_t *state = &make->state;
    if (make->code) {
        fv_code_filler(make, sentence, sizeof sentence);
        return add_sentence(make, sentence);
    }
    snprintf(sentence, sizeof sentence, "The %s %s %s the %s %s %s.", qualities[fv_draw_below(state, COUNT(qualities))],
             things[fv_draw_below(state, COUNT(things))], acts[fv_draw_below(state, COUNT(acts))],
             qualities[fv_draw_below(state, COUNT(qualities))], things[fv_draw_below(state, COUNT(things))],
             times[fv_draw_below(state, COUNT(times))]);
    return add_sentence(make, sentence);
}

/* Each fact before its place, facts of one place in the order in which they were made. */
static fv_status write_text(fv_maker *make) {
    fv_status status = FV_OK;
    bool placed[FV_EVAL_QUESTIONS_MAX] = {false};
    for (size_t place = 0; place <= make->sentences && status == FV_OK; place++) {
        for (size_t i = 0; i < make->fact_count && status == FV_OK; i++) {
            const fv_fact *said = &make->facts[i];
            if (said->place != place) continue;
            if (!placed[said->question])
                make->document->questions[said->question].depth = (double)place / (double)make->sentences;
            placed[said->question] = true;
            status = add_sentence(make, said->text);
        }
        if (place < make->sentences && status == FV_OK) status = add_filler(make);
    }
    return status;
}

fv_status fv_eval_document_make(fv_eval_task task, uint64_t seed, size_t sentences, size_t count,
                                fv_eval_document *document) {
    if ((unsigned)task >= FV_EVAL_TASK_COUNT || count < 1 || count > FV_EVAL_QUESTIONS_MAX) return FV_ERROR_ARGUMENT;
    fv_maker *make = calloc(1, sizeof *make);
    if (!make) return FV_ERROR_MEMORY;
    make->state = seed;
    make->sentences = sentences ? sentences : 1;
    make->code = task == FV_EVAL_TASK_DEFINITION || task == FV_EVAL_TASK_IMPORTS;
    make->document = document;
    document->text.length = 0;
    document->count = count;
    fv_shuffle(&make->state, make->order, FV_EVAL_QUESTIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        document->questions[i] = (fv_eval_question){.depth = 0};
        makers[task](make, i, &document->questions[i]);
    }
    fv_status status = write_text(make);
    free(make);
    return status;
}

/* ---- answers ---- */

static bool is_word(char byte) { return isalnum((unsigned char)byte) || (unsigned char)byte >= 0x80; }

static bool begins_with_word(const char *text, const char *word) {
    if (!*word) return false;
    for (; *word; text++, word++)
        if (*text != *word) return false;
    return !is_word(*text);
}

bool fv_eval_answer_is_right(const fv_eval_question *question, const char *answer) {
    while (*answer && *answer != '\n' && !is_word(*answer)) answer++;
    return begins_with_word(answer, question->expected[0]) || begins_with_word(answer, question->expected[1]);
}
