#include "level.h"
#include <stdio.h>
#include <string.h>

#define PLAIN_LEAST 2 /* plain columns between two features */
#define PLAIN_MOST 6
#define GAP_LEAST 2
#define GAP_MOST 3
#define ENEMY_APART 6 /* columns before an enemy without another */
#define PICTURE_ROWS 10

static const level_object platform[] = {LEVEL_BRICK, LEVEL_BRICK, LEVEL_PRIZE, LEVEL_BRICK};
static const level_object coins[] = {LEVEL_COIN, LEVEL_COIN, LEVEL_COIN};
static const level_object pipe[] = {LEVEL_PIPE_LEFT, LEVEL_PIPE_RIGHT};

static uint32_t ground_of(uint8_t column) { return column / LEVEL_OBJECTS; }
static level_object object_of(uint8_t column) { return (level_object)(column % LEVEL_OBJECTS); }
static uint8_t column_of(uint32_t ground, level_object object) {
    return (uint8_t)(ground * LEVEL_OBJECTS + (uint32_t)object);
}

uint64_t level_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

float level_uniform(uint64_t *state) { return (float)(level_random(state) >> 40) * 0x1p-24f; }

static uint32_t below(uint64_t *state, uint32_t limit) { return (uint32_t)(level_random(state) % limit); }

uint32_t level_draw(uint64_t *state, uint32_t count, const float *weight, float floor) {
    float most = 0, sum = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < count; i++) most = weight[i] > most ? weight[i] : most;
    for (uint32_t i = 0; i < count; i++) sum += weight[i] > 0 && weight[i] >= floor * most ? weight[i] : 0;
    float left = level_uniform(state) * sum;
    for (uint32_t i = 0; i < count; i++) {
        if (weight[i] <= 0 || weight[i] < floor * most) continue;
        last = i;
        if (left < weight[i]) break;
        left -= weight[i];
    }
    return last;
}

typedef struct writer {
    uint8_t *columns;
    uint32_t length, at;
} writer;

static void put(writer *out, uint32_t ground, level_object object) {
    if (out->at < out->length) out->columns[out->at++] = column_of(ground, object);
}

static void put_all(writer *out, uint32_t ground, const level_object *objects, size_t count) {
    for (size_t i = 0; i < count; i++) put(out, ground, objects[i]);
}

void level_make(uint64_t seed, uint32_t length, uint8_t *columns) {
    enum { STEP, GAP, PIPE, PLATFORM, COINS, ENEMY, FEATURES };
    writer out = {columns, length, 0};
    uint64_t state = seed;
    uint32_t ground = LEVEL_START, enemy_end = 0; /* the first column where an enemy may stand again */
    while (out.at < length) {
        uint32_t plain = PLAIN_LEAST + below(&state, PLAIN_MOST - PLAIN_LEAST + 1);
        for (uint32_t i = 0; i < plain; i++) put(&out, ground, LEVEL_PLAIN);
        uint32_t feature = below(&state, FEATURES);
        if (feature == ENEMY && out.at < enemy_end) feature = STEP;
        switch (feature) {
        case STEP:
            if (ground == 1 || (ground < LEVEL_GROUNDS - 1 && below(&state, 2)))
                ground++;
            else
                ground--;
            break;
        case GAP:
            for (uint32_t i = GAP_LEAST + below(&state, GAP_MOST - GAP_LEAST + 1); i > 0; i--)
                put(&out, 0, LEVEL_PLAIN);
            break;
        case PIPE:
            put_all(&out, ground, pipe, 2);
            break;
        case PLATFORM:
            put_all(&out, ground, platform, 4);
            break;
        case COINS:
            put_all(&out, ground, coins, 3);
            break;
        default:
            put(&out, ground, LEVEL_ENEMY);
            enemy_end = out.at + ENEMY_APART;
        }
    }
}

/* Columns before `at` that equal `column`. */
static uint32_t run_before(const uint8_t *columns, uint32_t at, uint8_t column) {
    uint32_t run = 0;
    while (run < at && columns[at - 1 - run] == column) run++;
    return run;
}

/* How many columns of `objects` the columns before `at` have begun with, 0 if they end otherwise. */
static uint32_t begun(const uint8_t *columns, uint32_t at, const level_object *objects, uint32_t count) {
    for (uint32_t part = count - 1; part > 0; part--) {
        bool same = at > part && object_of(columns[at - part - 1]) == LEVEL_PLAIN;
        for (uint32_t i = 0; i < part && same; i++) same = object_of(columns[at - part + i]) == objects[i];
        if (same) return part;
    }
    return 0;
}

bool level_valid(const uint8_t *columns, uint32_t at) {
    uint8_t column = columns[at];
    uint32_t ground = ground_of(column);
    level_object object = object_of(column);
    if (at < PLAIN_LEAST) return column == column_of(LEVEL_START, LEVEL_PLAIN);

    uint32_t before = ground_of(columns[at - 1]);
    uint32_t gap = run_before(columns, at, column_of(0, LEVEL_PLAIN));
    if (gap > 0) {
        if (column == column_of(0, LEVEL_PLAIN)) return gap < GAP_MOST;
        return gap >= GAP_LEAST && object == LEVEL_PLAIN && gap < at && ground == ground_of(columns[at - gap - 1]);
    }

    static const struct {
        const level_object *objects;
        uint32_t count;
    } features[] = {{platform, 4}, {coins, 3}, {pipe, 2}};
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t part = begun(columns, at, features[i].objects, features[i].count);
        if (part > 0) return ground == before && object == features[i].objects[part];
    }

    uint32_t plain = run_before(columns, at, column_of(before, LEVEL_PLAIN));
    if (object == LEVEL_PLAIN && ground == before) return plain < PLAIN_MOST;
    if (plain < PLAIN_LEAST) return false;
    if (object == LEVEL_PLAIN) return ground == 0 || ground + 1 == before || before + 1 == ground;
    if (ground != before) return false;
    if (object != LEVEL_ENEMY) return object == LEVEL_BRICK || object == LEVEL_COIN || object == LEVEL_PIPE_LEFT;
    for (uint32_t back = 1; back <= ENEMY_APART && back <= at; back++)
        if (object_of(columns[at - back]) == LEVEL_ENEMY) return false;
    return true;
}

uint32_t level_valid_count(const uint8_t *columns, uint32_t length) {
    uint32_t valid = 0;
    for (uint32_t at = 0; at < length; at++) valid += level_valid(columns, at);
    return valid;
}

uint32_t level_copied(const uint8_t *columns, uint32_t length, const uint8_t *corpus, uint32_t corpus_length) {
    uint32_t longest = 0;
    for (uint32_t at = 0; at < length; at++)
        for (uint32_t from = 0; from < corpus_length; from++) {
            uint32_t same = 0;
            while (at + same < length && from + same < corpus_length && columns[at + same] == corpus[from + same])
                same++;
            longest = same > longest ? same : longest;
        }
    return longest;
}

void level_pairs(const uint8_t *corpus, uint32_t length, float pairs[LEVEL_COLUMNS][LEVEL_COLUMNS]) {
    memset(pairs, 0, sizeof(float[LEVEL_COLUMNS][LEVEL_COLUMNS]));
    for (uint32_t at = 1; at < length; at++) pairs[corpus[at - 1]][corpus[at]] += 1;
}

void level_embed(uint8_t column, float scale, float *out) {
    out[ground_of(column)] += scale;
    out[LEVEL_GROUNDS + (uint32_t)object_of(column)] += scale;
}

static char tile(uint8_t column, uint32_t height) {
    uint32_t ground = ground_of(column);
    if (height < ground) return '#';
    if (ground == 0) return ' ';
    uint32_t above = height - ground;
    switch (object_of(column)) {
    case LEVEL_COIN:
        return above == 2 ? 'o' : ' ';
    case LEVEL_BRICK:
        return above == 3 ? '=' : ' ';
    case LEVEL_PRIZE:
        return above == 3 ? '?' : ' ';
    case LEVEL_PIPE_LEFT:
        return above < 2 ? '[' : ' ';
    case LEVEL_PIPE_RIGHT:
        return above < 2 ? ']' : ' ';
    case LEVEL_ENEMY:
        return above == 0 ? 'e' : ' ';
    default:
        return ' ';
    }
}

void level_print(const uint8_t *columns, const uint8_t *hidden, uint32_t length) {
    for (uint32_t row = PICTURE_ROWS; row-- > 0;) {
        putchar('|');
        for (uint32_t at = 0; at < length; at++) putchar(hidden && hidden[at] ? '.' : tile(columns[at], row));
        puts("|");
    }
    putchar(' ');
    for (uint32_t at = 0; at < length; at++) putchar(hidden || level_valid(columns, at) ? ' ' : '^');
    putchar('\n');
}
