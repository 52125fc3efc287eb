/* guesses.h - tokens that an answer evaluates ahead of the one that is due: guessed from its text, kept if they are
 * what is chosen. They show in nothing but the time. */
#ifndef FV_GUESSES_H
#define FV_GUESSES_H

#include "fovea/lookup.h"

typedef struct fv_guesses {
    fv_lookup *lookup; /* NULL: nothing is guessed */
    uint32_t most, count;
    int32_t ahead[1 + FV_GENERATE_GUESSES]; /* the token that is due, then [count] guesses */
    bool pause;                             /* those of the last step failed: the next has none */
} fv_guesses;

/** Where there is no memory, nothing is guessed. most: at a time; 0: none. */
void fv_guesses_open(fv_guesses *guesses, const fv_tokens *prompt, uint32_t most);
void fv_guesses_close(fv_guesses *guesses);

/** The text goes on with a token. */
void fv_guesses_add(fv_guesses *guesses, int32_t token);

/** Fills `ahead` for the next step, with `most` guesses at most. Tokens in it, at least 1. */
uint32_t fv_guesses_make(fv_guesses *guesses, int32_t due, size_t most);

/** Whether `token`, which was chosen after ahead[place], is what was guessed. */
bool fv_guesses_right(const fv_guesses *guesses, uint32_t place, int32_t token);

/** The first `right` of the guesses were. */
void fv_guesses_learn(fv_guesses *guesses, uint32_t right);

/** A step failed. Whether it may have been for the guesses: then the same token comes again without any. */
bool fv_guesses_blamed(fv_guesses *guesses);

#endif
