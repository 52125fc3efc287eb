/* sampler.c - penalties, top-k, top-p, min-p, temperature, draw: llama.cpp's default chain, in its order and meaning.
 * The draw is our own: an integer generator, an exponential of fixed steps, ties broken by id: one answer everywhere.
 */
#include "fovea/sampler.h"
#include "numeric/splitmix.h"
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

struct fv_sampler {
    fv_sampler_config config;
    uint64_t drawn;        /* random numbers so far */
    candidate *candidates; /* [vocabulary] */
    double *shares;        /* [vocabulary] of those that are drawn from, relative to the best */
    uint8_t *forbidden;    /* [vocabulary] */
    uint32_t *counts;      /* [vocabulary] how often in the window; NULL: penalties are off */
    int32_t *window;       /* [window_tokens] ring of the last accepted ids */
    uint32_t window_tokens, window_next, window_held;
};

void fv_sampler_config_default(fv_sampler_config *config) {
    *config = (fv_sampler_config){.temperature = 0.8f,
                                  .top_k = 40,
                                  .top_p = 0.95f,
                                  .min_p = 0.05f,
                                  .repeat_penalty = 1,
                                  .repeat_last_tokens = 64};
}

/* --- arithmetic that is the same on every machine ---------------------------------------------------------------- */

/* The next of the seed's random numbers, in [0, 1), 53 bits. */
static double random_unit(fv_sampler *s) { return (double)(fv_splitmix(s->config.seed, s->drawn++) >> 11) * 0x1p-53; }

/* e^x for x <= 0; relative error below 1e-15. libm's exp may differ in the last bit from one machine to the next. */
static double exp_negative(double x) {
    static const double taylor[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
        1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       1.0 / 2,      1,           1};
    if (!(x > -700)) return 0;
    double n = floor(x * 1.4426950408889634 + 0.5);
    double r = (x - n * 0.693145751953125) - n * 1.42860682030941723212e-6; /* ln 2 in two parts, the first exact */
    double sum = 0;
    for (size_t k = 0; k < sizeof taylor / sizeof *taylor; k++)
        sum = sum * r + taylor[k]; /* |r| < 0.35: rest < 1e-16 */
    return ldexp(sum, (int)n);
}

/* --- opening ---------------------------------------------------------------------------------------------------- */

static fv_status check_config(const fv_sampler_config *c, fv_message *message) {
    if (c->vocabulary < 1 || c->vocabulary > INT32_MAX)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "sampler: a vocabulary of %" PRIu32 " tokens", c->vocabulary);
    const struct {
        const char *name;
        float value;
    } numbers[] = {{"temperature", c->temperature},
                   {"top-p", c->top_p},
                   {"min-p", c->min_p},
                   {"repeat-penalty", c->repeat_penalty},
                   {"presence-penalty", c->presence_penalty},
                   {"frequency-penalty", c->frequency_penalty}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isfinite(numbers[i].value))
            return fv_message_set(message, FV_ERROR_ARGUMENT, "sampler: %s must be a finite number", numbers[i].name);
    if (!(c->repeat_penalty > 0))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "sampler: repeat-penalty must be above 0 (1 = off), got %g",
                              (double)c->repeat_penalty);
    if (c->repeat_last_tokens < -1)
        return fv_message_set(
            message, FV_ERROR_ARGUMENT,
            "sampler: the window of the penalties must be 0 (off), above, or -1 (context), got %" PRId32,
            c->repeat_last_tokens);
    return FV_OK;
}

static bool differs(float a, float b) { return a < b || a > b; }

static uint32_t window_of(const fv_sampler_config *c) {
    if (!differs(c->repeat_penalty, 1) && !differs(c->presence_penalty, 0) && !differs(c->frequency_penalty, 0))
        return 0;
    return c->repeat_last_tokens < 0 ? c->context_tokens : (uint32_t)c->repeat_last_tokens;
}

static bool sampler_allocate(fv_sampler *s) {
    s->candidates = calloc(s->config.vocabulary, sizeof *s->candidates);
    s->shares = calloc(s->config.vocabulary, sizeof *s->shares);
    s->forbidden = calloc(s->config.vocabulary, 1);
    if (!s->candidates || !s->shares || !s->forbidden) return false;
    if (s->window_tokens == 0) return true;
    s->counts = calloc(s->config.vocabulary, sizeof *s->counts);
    s->window = calloc(s->window_tokens, sizeof *s->window);
    return s->counts && s->window;
}

fv_status fv_sampler_open(fv_sampler **sampler, const fv_sampler_config *config, fv_message *message) {
    if (!sampler || !config) return fv_message_set(message, FV_ERROR_ARGUMENT, "sampler: an argument is missing");
    fv_status status = check_config(config, message);
    if (status != FV_OK) return status;
    fv_sampler *made = calloc(1, sizeof *made);
    if (made) {
        made->config = *config;
        made->window_tokens = window_of(config);
    }
    if (!made || !sampler_allocate(made)) {
        fv_sampler_close(made);
        return fv_message_set(message, FV_ERROR_MEMORY,
                              "sampler: out of memory for %" PRIu32 " tokens and a window of %" PRIu32,
                              config->vocabulary, window_of(config));
    }
    *sampler = made;
    return FV_OK;
}

void fv_sampler_close(fv_sampler *sampler) {
    if (!sampler) return;
    free(sampler->candidates);
    free(sampler->shares);
    free(sampler->forbidden);
    free(sampler->counts);
    free(sampler->window);
    free(sampler);
}

void fv_sampler_accept(fv_sampler *s, int32_t token) {
    if (s->window_tokens == 0 || token < 0 || (uint32_t)token >= s->config.vocabulary) return;
    if (s->window_held == s->window_tokens)
        s->counts[s->window[s->window_next]]--;
    else
        s->window_held++;
    s->window[s->window_next] = token;
    s->counts[token]++;
    s->window_next = (s->window_next + 1) % s->window_tokens;
}

fv_status fv_sampler_forbid(fv_sampler *s, int32_t token) {
    if (token < 0 || (uint32_t)token >= s->config.vocabulary) return FV_ERROR_ARGUMENT;
    s->forbidden[token] = 1;
    return FV_OK;
}

/* --- the chain -------------------------------------------------------------------------------------------------- */

/* The repeat penalty pushes towards 0 from above and away from it below (Keskar et al. 2019, as everyone has it). */
static float penalized(const fv_sampler_config *c, float logit, uint32_t count) {
    logit = logit <= 0 ? logit * c->repeat_penalty : logit / c->repeat_penalty;
    return logit - ((float)count * c->frequency_penalty + c->presence_penalty);
}

static void fill_candidates(fv_sampler *s, const float *logits) {
    for (uint32_t i = 0; i < s->config.vocabulary; i++) {
        float logit = logits[i];
        if (s->counts && s->counts[i]) logit = penalized(&s->config, logit, s->counts[i]);
        if (s->forbidden[i] || isnan(logit)) logit = -INFINITY; /* a NaN is never chosen */
        s->candidates[i] = (candidate){.logit = logit, .id = (int32_t)i};
    }
}

static bool is_before(candidate a, candidate b) { return a.logit > b.logit || (!(a.logit < b.logit) && a.id < b.id); }

static int32_t greedy(const fv_sampler *s) {
    candidate best = s->candidates[0];
    for (uint32_t i = 1; i < s->config.vocabulary; i++)
        if (is_before(s->candidates[i], best)) best = s->candidates[i];
    return best.id;
}

/* Whether `a` belongs nearer to the heap's top than `b`. */
static bool is_above(candidate a, candidate b, bool worst_on_top) {
    return worst_on_top ? is_before(b, a) : is_before(a, b);
}

static void sift_down(candidate *heap, uint32_t count, uint32_t at, bool worst_on_top) {
    candidate moving = heap[at];
    for (;;) {
        uint64_t child = 2 * (uint64_t)at + 1;
        if (child >= count) break;
        if (child + 1 < count && is_above(heap[child + 1], heap[child], worst_on_top)) child++;
        if (!is_above(heap[child], moving, worst_on_top)) break;
        heap[at] = heap[child];
        at = (uint32_t)child;
    }
    heap[at] = moving;
}

static void make_heap(candidate *items, uint32_t count, bool worst_on_top) {
    for (uint32_t i = count / 2; i > 0; i--) sift_down(items, count, i - 1, worst_on_top);
}

/* Moves the best `count` of `total` to the front, in no order: one look at each, little work for most. */
static void best_to_front(candidate *items, uint32_t total, uint32_t count) {
    make_heap(items, count, true);
    for (uint32_t i = count; i < total; i++) {
        if (!is_before(items[i], items[0])) continue;
        items[0] = items[i];
        sift_down(items, count, 0, true);
    }
}

/* The candidates as a heap: its top is the next best one, and what was taken lies after it, best last. Only as many
 * are ever put in order as are kept. */
typedef struct ranking {
    candidate *items;
    uint32_t total, in_heap;
} ranking;

static ranking ranking_make(fv_sampler *s) {
    uint32_t total = s->config.vocabulary;
    if (s->config.top_k > 0 && (uint32_t)s->config.top_k < total) {
        best_to_front(s->candidates, total, (uint32_t)s->config.top_k);
        total = (uint32_t)s->config.top_k;
    }
    make_heap(s->candidates, total, false);
    return (ranking){s->candidates, total, total};
}

static candidate ranking_take(ranking *r) {
    candidate best = r->items[0];
    r->items[0] = r->items[--r->in_heap];
    if (r->in_heap) sift_down(r->items, r->in_heap, 0, false);
    r->items[r->in_heap] = best;
    return best;
}

static candidate ranking_at(const ranking *r, uint32_t rank) { return r->items[r->total - 1 - rank]; }

static double share_of(candidate item, float best) { return exp_negative((double)item.logit - (double)best); }

/* top-p and min-p: how many of the ranking stay; those are taken from the heap. Nothing has been taken before. */
static uint32_t keep(const fv_sampler_config *c, ranking *r) {
    float best = r->items[0].logit;
    double wanted = INFINITY, held = 0;
    if (c->top_p < 1) {
        double sum = 0;
        for (uint32_t i = 0; i < r->total; i++) sum += share_of(r->items[i], best);
        wanted = (double)c->top_p * sum;
    }
    for (uint32_t kept = 0; kept < r->total; kept++) {
        double share = share_of(ranking_take(r), best);
        if (kept > 0 && (held >= wanted || share < (double)c->min_p)) return kept;
        held += share;
    }
    return r->total;
}

/* Those that stay, best first; with nothing cut off in the order of the ids, which needs no sorting. */
typedef struct selection {
    ranking ranking;
    uint32_t count;
    bool sorted;
} selection;

static candidate selection_at(const selection *chosen, uint32_t i) {
    return chosen->sorted ? ranking_at(&chosen->ranking, i) : chosen->ranking.items[i];
}

static int32_t draw(fv_sampler *s, const selection *chosen, float best) {
    double sum = 0;
    float hottest = best / s->config.temperature;
    for (uint32_t i = 0; i < chosen->count; i++) {
        candidate item = selection_at(chosen, i);
        item.logit /= s->config.temperature;
        sum += s->shares[i] = share_of(item, hottest);
    }
    double target = random_unit(s) * sum, passed = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < chosen->count && passed <= target; i++) {
        if (!(s->shares[i] > 0)) continue;
        last = i; /* if rounding leaves the sum short: the last that is possible */
        passed += s->shares[i];
    }
    return selection_at(chosen, last).id;
}

int32_t fv_sampler_next(fv_sampler *s, const float *logits) {
    const fv_sampler_config *c = &s->config;
    fill_candidates(s, logits);
    int32_t best_id = greedy(s);
    float best = s->candidates[best_id].logit;
    if (!(c->temperature > 0) || !isfinite(best) || !isfinite(best / c->temperature)) return best_id;
    if (c->top_k <= 0 && c->top_p >= 1 && c->min_p <= 0) {
        selection all = {{s->candidates, c->vocabulary, c->vocabulary}, c->vocabulary, false};
        return draw(s, &all, best);
    }
    selection chosen = {.ranking = ranking_make(s), .sorted = true};
    chosen.count = keep(c, &chosen.ranking);
    return draw(s, &chosen, best);
}
