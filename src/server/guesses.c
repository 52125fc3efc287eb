/* guesses.c - the server's use of lookup.h, as fv_generator_answer() makes of it. */
#include "guesses.h"

void fv_guesses_open(fv_guesses *guesses, const fv_tokens *prompt, uint32_t most) {
    *guesses = (fv_guesses){.most = most};
    if (most == 0 || fv_lookup_open(&guesses->lookup) != FV_OK) return;
    if (fv_lookup_add(guesses->lookup, prompt->ids, prompt->count) != FV_OK) fv_guesses_close(guesses);
}

void fv_guesses_close(fv_guesses *guesses) {
    fv_lookup_close(guesses->lookup);
    guesses->lookup = NULL;
}

void fv_guesses_add(fv_guesses *guesses, int32_t token) {
    if (guesses->lookup && fv_lookup_add(guesses->lookup, &token, 1) != FV_OK) fv_guesses_close(guesses);
}

uint32_t fv_guesses_make(fv_guesses *guesses, int32_t due, size_t most) {
    if (most > guesses->most) most = guesses->most;
    guesses->ahead[0] = due;
    guesses->count = 0;
    if (guesses->lookup && !guesses->pause)
        guesses->count = fv_lookup_guess(guesses->lookup, (uint32_t)most, guesses->ahead + 1);
    guesses->pause = false;
    return 1 + guesses->count;
}

bool fv_guesses_right(const fv_guesses *guesses, uint32_t place, int32_t token) {
    return place < guesses->count && guesses->ahead[place + 1] == token;
}

void fv_guesses_learn(fv_guesses *guesses, uint32_t right) {
    if (guesses->count > 0) fv_lookup_learn(guesses->lookup, guesses->count, right);
}

bool fv_guesses_blamed(fv_guesses *guesses) {
    guesses->pause = guesses->count > 0;
    if (guesses->pause) guesses->most /= 2;
    return guesses->pause;
}
