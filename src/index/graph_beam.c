/* graph_beam.c - a sorted array into which what a visit met is merged in one go, from its end on. */
#include "index/graph_beam.h"
#include "numeric/half.h"
#include "numeric/splitmix.h"
#include "platform/array.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IS_VISITED ((uint64_t)1)

bool fv_beam_make(fv_beam *beam, size_t most, size_t room, size_t met) {
    *beam = (fv_beam){.most = most, .room = room, .most_visits = most * 4 + 256, .slots = 1024, .hidden = FV_NO_ROW};
    beam->is_met_once = met > 0;
    while (beam->slots < (met > beam->most_visits ? met : beam->most_visits) * 2) beam->slots *= 2;
    uint64_t *entries = fv_array_new(most + room + 1, sizeof *entries);
    beam->visits = fv_array_new(beam->most_visits, sizeof *beam->visits);
    beam->seen = fv_array_new(beam->slots, sizeof *beam->seen);
    bool is_wide = most >= FV_BEAM_WIDE && !beam->is_met_once;
    if (is_wide) beam->best = fv_array_new(beam->slots, sizeof *beam->best);
    if (entries) beam->entries = entries + 1;
    if (entries && beam->visits && beam->seen && (beam->best || !is_wide)) return true;
    fv_beam_free(beam);
    return false;
}

void fv_beam_free(fv_beam *beam) {
    if (beam->entries) free(beam->entries - 1);
    free(beam->visits);
    free(beam->seen);
    free(beam->best);
    *beam = (fv_beam){0};
}

/* Where the row is, or would be, among those that were seen. */
static size_t seen_slot(const fv_beam *beam, uint32_t row) {
    size_t i = (size_t)(row * FV_SPLITMIX_STEP >> 32) & (beam->slots - 1);
    while (beam->seen[i] != FV_NO_ROW && beam->seen[i] != row) i = (i + 1) & (beam->slots - 1);
    return i;
}

void fv_beam_begin(fv_beam *beam) {
    beam->count = beam->next = beam->visit_count = beam->seen_count = 0;
    memset(beam->seen, 0xFF, beam->slots * sizeof *beam->seen);
    if (beam->hidden == FV_NO_ROW) return;
    size_t slot = seen_slot(beam, beam->hidden);
    beam->seen[slot] = beam->hidden;
    if (beam->best) beam->best[slot] = 0;
}

static uint64_t entry_of(float near, uint32_t row) {
    uint32_t bits = fv_bits_from_f32(near);
    bits = bits >> 31 ? ~bits : bits | 1u << 31;
    return (uint64_t)bits << 32 | (uint64_t)row << 1;
}

static float near_of(uint64_t entry) {
    uint32_t bits = (uint32_t)(entry >> 32);
    return fv_f32_from_bits(bits >> 31 ? bits ^ 1u << 31 : ~bits);
}

float fv_beam_limit(const fv_beam *beam) {
    return beam->count < beam->most ? INFINITY : near_of(beam->entries[beam->count - 1]);
}

/* Whether a wide beam has no such estimate of the row in this slot yet. What does not fit the table is taken. */
static bool is_better(fv_beam *beam, size_t slot, uint32_t row, uint32_t estimate) {
    bool is_new = beam->seen[slot] == FV_NO_ROW;
    if (is_new && beam->seen_count >= beam->slots / 4) return true;
    if (!is_new && beam->best[slot] <= estimate) return false;
    beam->seen_count += is_new;
    beam->seen[slot] = row;
    beam->best[slot] = estimate;
    return true;
}

/* Whether it is worth an entry. */
static bool is_wanted(fv_beam *beam, uint32_t row, uint32_t estimate) {
    if (beam->is_met_once) return true;
    size_t slot = seen_slot(beam, row);
    return beam->best ? is_better(beam, slot, row, estimate) : beam->seen[slot] == FV_NO_ROW;
}

void fv_beam_meet(fv_beam *beam, float near, uint32_t row, uint64_t *fresh, size_t *count) {
    uint64_t entry = entry_of(near, row);
    if (!is_wanted(beam, row, (uint32_t)(entry >> 32))) return;
    size_t i = (*count)++;
    for (; i > 0 && fresh[i - 1] > entry; i--) fresh[i] = fresh[i - 1];
    fresh[i] = entry;
}

/* Of entries [count] in order, how many come before. */
static size_t place_of(const uint64_t *entries, size_t count, uint64_t entry) {
    const uint64_t *from = entries;
    while (count > 1) {
        size_t half = count / 2;
        from = from[half - 1] < entry ? from + half : from;
        count -= half;
    }
    return (size_t)(from - entries) + (count && *from < entry);
}

/* A few into many: what lies between them moves as one. */
static size_t merge_few(uint64_t *entries, size_t old, const uint64_t *fresh, size_t count) {
    for (; count; count--) {
        size_t place = place_of(entries, old, fresh[count - 1]);
        memmove(entries + place + count, entries + place, (old - place) * sizeof *entries);
        entries[place + count - 1] = fresh[count - 1];
        old = place;
    }
    return old;
}

static size_t merge_many(uint64_t *entries, size_t old, const uint64_t *fresh, size_t count) {
    while (count) {
        uint64_t a = entries[(ptrdiff_t)old - 1], b = fresh[count - 1]; /* entries[-1]: before all */
        bool is_fresh = b >= a;
        entries[old + count - 1] = is_fresh ? b : a;
        count -= is_fresh;
        old -= !is_fresh;
    }
    return old;
}

void fv_beam_merge(fv_beam *beam, const uint64_t *fresh, size_t count) {
    if (!count) return;
    size_t first = (beam->count > 16 * count ? merge_few : merge_many)(beam->entries, beam->count, fresh, count);
    if (first < beam->next) beam->next = first;
    beam->count = beam->count + count < beam->most ? beam->count + count : beam->most;
}

bool fv_beam_mark(fv_beam *beam, uint32_t row) {
    size_t slot = seen_slot(beam, row);
    bool is_new = beam->seen[slot] == FV_NO_ROW;
    if (is_new ? beam->seen_count >= beam->slots / 4 * 3 : !beam->best || !beam->best[slot]) return false;
    beam->seen[slot] = row;
    beam->seen_count += is_new;
    if (beam->best) beam->best[slot] = 0;
    return true;
}

bool fv_beam_take(fv_beam *beam, uint32_t *row) {
    if (beam->visit_count == beam->most_visits) return false;
    for (; beam->next < beam->count; beam->next++) {
        uint64_t *entry = beam->entries + beam->next;
        if (*entry & IS_VISITED) continue;
        *entry |= IS_VISITED;
        *row = (uint32_t)(*entry >> 1) & (uint32_t)(FV_BEAM_ROWS - 1);
        beam->near = near_of(*entry);
        if (beam->is_met_once || fv_beam_mark(beam, *row)) return true; /* met twice, visited once */
    }
    return false;
}
