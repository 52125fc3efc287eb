/* lookup.c - every run of three tokens is a key of a hash table with the place where it stood last; each place knows
 * the one before it with the same key. Among the newest of these the longest match is taken.
 * Method: prompt lookup decoding, Saxena 2023. */
#include "fovea/lookup.h"
#include "numeric/splitmix.h"
#include <stdlib.h>

enum {
    KEY = 3,           /* tokens that must match */
    PLACES = 16,       /* looked at for the longest match */
    MATCH = 32,        /* tokens that a match is followed back at most */
    KINDS = 3,         /* of matches, by length: fewer than 6 tokens, fewer than 12, and more */
    FIRST_SLOTS = 1024 /* of the table, a power of two; it is at most half full */
};

#define ROW_PRICE 0.4f /* of a further row in a step, in steps of one row */
#define FADE 0.95f     /* of what was learned, with each guess */
#define RECOVER 0.995f /* with each token: what did not pay is tried again later */

/* How guesses after matches of one kind went, the newer the heavier. */
typedef struct guess_record {
    float tried, right;
} guess_record;

struct fv_lookup {
    fv_tokens tokens;
    uint32_t *before; /* [capacity] for each place i: 1 + the place before it with the same key; 0: none */
    size_t capacity;
    uint32_t *slots; /* [slot_count]: 1 + the last place with a key, by its hash; 0: empty */
    size_t slot_count, keys;
    guess_record records[KINDS];
    unsigned kind; /* of the last guess's match */
};

fv_status fv_lookup_open(fv_lookup **lookup) {
    fv_lookup *made = lookup ? calloc(1, sizeof *made) : NULL;
    if (!lookup) return FV_ERROR_ARGUMENT;
    if (made) made->slots = calloc(FIRST_SLOTS, sizeof *made->slots);
    if (!made || !made->slots) {
        free(made);
        return FV_ERROR_MEMORY;
    }
    made->slot_count = FIRST_SLOTS;
    *lookup = made;
    return FV_OK;
}

void fv_lookup_close(fv_lookup *lookup) {
    if (!lookup) return;
    fv_tokens_free(&lookup->tokens);
    free(lookup->before);
    free(lookup->slots);
    free(lookup);
}

/* ---- the table ---- */

/* A place is that of a key's last token. */
static bool same_key(const fv_lookup *lookup, size_t a, size_t b) {
    const int32_t *ids = lookup->tokens.ids;
    return ids[a] == ids[b] && ids[a - 1] == ids[b - 1] && ids[a - 2] == ids[b - 2];
}

static uint32_t *find_slot(const fv_lookup *lookup, size_t place) {
    const int32_t *ids = lookup->tokens.ids + place;
    uint64_t hash = fv_splitmix((uint64_t)(uint32_t)ids[-2] << 32 | (uint32_t)ids[-1], (uint32_t)ids[0]);
    size_t at = (size_t)hash & (lookup->slot_count - 1);
    while (lookup->slots[at] && !same_key(lookup, lookup->slots[at] - 1, place))
        at = (at + 1) & (lookup->slot_count - 1);
    return &lookup->slots[at];
}

static void enter(fv_lookup *lookup, size_t place) {
    uint32_t *slot = find_slot(lookup, place);
    if (*slot == 0) lookup->keys++;
    lookup->before[place] = *slot;
    *slot = (uint32_t)place + 1;
}

static fv_status grow_table(fv_lookup *lookup) {
    size_t slot_count = lookup->slot_count * 2;
    uint32_t *old = lookup->slots, *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return FV_ERROR_MEMORY;
    size_t old_count = lookup->slot_count;
    lookup->slots = slots;
    lookup->slot_count = slot_count;
    for (size_t i = 0; i < old_count; i++)
        if (old[i]) *find_slot(lookup, old[i] - 1) = old[i];
    free(old);
    return FV_OK;
}

static fv_status grow_places(fv_lookup *lookup, size_t count) {
    size_t capacity = lookup->capacity ? lookup->capacity : FIRST_SLOTS;
    while (capacity < count) capacity *= 2;
    if (capacity == lookup->capacity) return FV_OK;
    if (capacity > UINT32_MAX / 2) return FV_ERROR_MEMORY;
    uint32_t *before = realloc(lookup->before, capacity * sizeof *before);
    if (!before) return FV_ERROR_MEMORY;
    lookup->before = before;
    lookup->capacity = capacity;
    return FV_OK;
}

fv_status fv_lookup_add(fv_lookup *lookup, const int32_t *tokens, size_t count) {
    fv_status status = lookup && (tokens || count == 0) ? FV_OK : FV_ERROR_ARGUMENT;
    for (size_t i = 0; i < count && status == FV_OK; i++) {
        size_t place = lookup->tokens.count;
        status = grow_places(lookup, place + 1);
        if (status == FV_OK && (lookup->keys + 1) * 2 > lookup->slot_count) status = grow_table(lookup);
        if (status == FV_OK) status = fv_tokens_append(&lookup->tokens, &tokens[i], 1);
        if (status == FV_OK && place + 1 >= KEY) enter(lookup, place);
    }
    for (int kind = 0; kind < KINDS && status == FV_OK && count <= FV_GENERATE_GUESSES; kind++) {
        lookup->records[kind].tried *= RECOVER;
        lookup->records[kind].right *= RECOVER;
    }
    return status;
}

/* ---- guessing ---- */

/* Tokens that are the same up to both places, at least KEY. */
static unsigned match_length(const fv_lookup *lookup, size_t a, size_t b) { /* a < b */
    const int32_t *ids = lookup->tokens.ids;
    unsigned length = KEY;
    while (length < MATCH && length <= a && ids[a - length] == ids[b - length]) length++;
    return length;
}

/* How many guesses give most tokens for their price, each being right with `chance` if those before it are. */
static uint32_t worthwhile(float chance, uint32_t most) {
    float expected = 1, power = 1, best = 1;
    uint32_t count = 0;
    for (uint32_t i = 1; i <= most; i++) {
        power *= chance;
        expected += power;
        float rate = expected / (1 + ROW_PRICE * (float)i);
        if (rate > best) best = rate, count = i;
    }
    return count;
}

uint32_t fv_lookup_guess(fv_lookup *lookup, uint32_t most, int32_t *guesses) {
    static const float first_chances[KINDS] = {0.55f, 0.75f, 0.9f};
    size_t count = lookup ? lookup->tokens.count : 0, found = 0;
    unsigned longest = 0;
    if (count < KEY + 1 || !guesses || most > FV_GENERATE_GUESSES) return 0;
    uint32_t next = lookup->before[count - 1];
    for (int i = 0; i < PLACES && next; i++) {
        unsigned length = match_length(lookup, next - 1, count - 1);
        if (length > longest) longest = length, found = next;
        next = lookup->before[next - 1];
    }
    if (longest == 0) return 0;
    lookup->kind = longest < 6 ? 0 : longest < 12 ? 1 : 2;
    const guess_record *record = &lookup->records[lookup->kind];
    uint32_t wanted = worthwhile((record->right + 2 * first_chances[lookup->kind]) / (record->tried + 2), most);
    for (uint32_t i = 0; i < wanted; i++) guesses[i] = lookup->tokens.ids[found + i % (count - found)];
    return wanted;
}

void fv_lookup_learn(fv_lookup *lookup, uint32_t count, uint32_t right) {
    if (!lookup) return;
    guess_record *record = &lookup->records[lookup->kind];
    for (uint32_t i = 0; i < count && i <= right; i++) {
        record->tried = record->tried * FADE + 1;
        record->right = record->right * FADE + (i < right ? 1.0f : 0.0f);
    }
}
