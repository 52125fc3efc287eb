/* question_maker.c - what the functions that write facts and questions share. */
#include "measure/question_maker.h"
#include "numeric/splitmix.h"

#define NUMBERS_MOST (2 * FV_EVAL_QUESTIONS_MAX)

const char *const fv_question_keys[FV_EVAL_QUESTIONS_MAX] = {
    "kestrel", "anvil",  "lantern", "marble",  "saffron", "glacier", "trumpet", "walnut", "harbour", "velvet",
    "compass", "orchid", "pepper",  "thimble", "canyon",  "beacon",  "ribbon",  "copper", "meadow",  "falcon"};

static uint64_t draw(uint64_t *state) {
    uint64_t bits = fv_splitmix(*state, 0);
    *state += FV_SPLITMIX_STEP;
    return bits;
}

size_t fv_draw_below(uint64_t *state, size_t n) { return (size_t)(draw(state) % n); }

void fv_shuffle(uint64_t *state, size_t *order, size_t n) {
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t other = fv_draw_below(state, i), held = order[i - 1];
        order[i - 1] = order[other];
        order[other] = held;
    }
}

fv_fact *fv_maker_fact(fv_maker *make, size_t question, size_t place) {
    fv_fact *added = &make->facts[make->fact_count++];
    *added = (fv_fact){.place = place, .question = question};
    return added;
}

size_t fv_maker_place(const fv_maker *make, size_t question) {
    size_t last = make->document->count - 1;
    return last ? question * make->sentences / last : make->sentences / 2;
}

unsigned fv_maker_number(fv_maker *make) {
    return 10000 + (unsigned)fv_draw_below(&make->state, 90000 / NUMBERS_MOST) * NUMBERS_MOST + make->numbers++;
}
