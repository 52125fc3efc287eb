/* grids.h - the points that IQ2 and IQ3 choose from: eight (IQ2) or four (IQ3) magnitudes each. */
#ifndef FV_GRIDS_H
#define FV_GRIDS_H

#include <stdint.h>

/* Fields of 2 bits, eight of them, the first value lowest: indices of the magnitudes 8, 25, 43. */
extern const uint16_t fv_grid_iq2_xxs[256], fv_grid_iq2_xs[512], fv_grid_iq2_s[1024];

/* Fields of 3 bits, four of them: of the magnitudes 4, 12, 20, 28, 36, 44, 52, 62 (iq3_xxs); 1, 3, 5, ... 15 (iq3_s).
 */
extern const uint16_t fv_grid_iq3_xxs[256], fv_grid_iq3_s[512];

#endif
