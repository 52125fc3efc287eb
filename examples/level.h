/* level.h - levels of a side-scroller as rows of columns: a generator, the rules that it keeps, the baseline that knows
 * one column of the past, and the drawing. A column is one byte, ground * LEVEL_OBJECTS + object. */
#ifndef LEVEL_H
#define LEVEL_H

#include <stdbool.h>
#include <stdint.h>

typedef enum level_object {
    LEVEL_PLAIN,
    LEVEL_COIN,
    LEVEL_BRICK,
    LEVEL_PRIZE,
    LEVEL_PIPE_LEFT,
    LEVEL_PIPE_RIGHT,
    LEVEL_ENEMY,
    LEVEL_OBJECTS
} level_object;

#define LEVEL_GROUNDS 5                               /* heights of the ground; 0 is a gap */
#define LEVEL_COLUMNS (LEVEL_GROUNDS * LEVEL_OBJECTS) /* different columns */
#define LEVEL_START 2 /* the first two columns of every level are plain, of this height */

/* Elements of a column's embedding: one-hot ground, then one-hot object. */
#define LEVEL_EMBED (LEVEL_GROUNDS + LEVEL_OBJECTS)

/** Numbers from a seed (splitmix64, Steele et al. 2014): the state is the caller's, any value will do. */
uint64_t level_random(uint64_t *state);

/** Uniform in [0, 1). */
float level_uniform(uint64_t *state);

/** Draws an index with probability weight[i] / sum of the weights; weights below `floor` times the largest count as 0.
 */
uint32_t level_draw(uint64_t *state, uint32_t count, const float *weight, float floor);

/** Writes `length` columns that keep the rules. */
void level_make(uint64_t seed, uint32_t length, uint8_t *columns);

/**
 * Whether columns[at] may follow the columns before it:
 *   - a level begins with two plain columns of height LEVEL_START;
 *   - a step (height +-1), gap, pipe, platform, row of coins or enemy comes after at least 2 plain columns of one
 * height, and no more than 6 plain columns of one height follow each other;
 *   - a gap is 2 or 3 wide, and the ground beyond it is as high as before it;
 *   - a pipe is left, right; a platform is brick, brick, prize, brick; coins come in threes; none of them changes
 * height;
 *   - the 6 columns before an enemy hold no other.
 */
bool level_valid(const uint8_t *columns, uint32_t at);

uint32_t level_valid_count(const uint8_t *columns, uint32_t length);

/** Length of the longest stretch of `columns` that stands in the corpus as it is. */
uint32_t level_copied(const uint8_t *columns, uint32_t length, const uint8_t *corpus, uint32_t corpus_length);

/** pairs[a][b]: how often column b follows column a in the corpus. */
void level_pairs(const uint8_t *corpus, uint32_t length, float pairs[LEVEL_COLUMNS][LEVEL_COLUMNS]);

/** Adds `scale` times the embedding of a column to out [LEVEL_EMBED]. */
void level_embed(uint8_t column, float scale, float *out);

/** Prints the level; columns that break a rule are marked by ^ below, masked ones (hidden, may be NULL) are drawn as
 * dots. */
void level_print(const uint8_t *columns, const uint8_t *hidden, uint32_t length);

#endif
