/* code_table.h - a rotated query made ready for scans: for each group of four channels the sums of +-q of its 16
 * nibbles, in 8 bits with one step for all. Rounding a sum of four costs a twelfth of the variance that rounding the
 * query's channels to 6 bits does. */
#ifndef FV_CODE_TABLE_H
#define FV_CODE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define FV_TABLE_ZERO 127 /* the entry that stands for 0 */

/* Writes table [n / 4][16]; returns the step: s(q) ~ step * (sum of entries - FV_TABLE_ZERO * n / 4). 0 for q = 0.
 * q [n] is finite. */
float fv_code_table_make(size_t n, const float *q, uint8_t *table);

#endif
