/* tune_shares.h - divides a budget over heads by what reading less costs each of them. Hosted. */
#ifndef FOVEA_TUNE_SHARES_H
#define FOVEA_TUNE_SHARES_H

#include "fovea/api.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FV_TUNE_SHARE_EQUAL 1024 /* as fv_policy.head_share counts */
#define FV_TUNE_SHARE_HALF (FV_TUNE_SHARE_EQUAL / 2)
#define FV_TUNE_SHARE_DOUBLE (FV_TUNE_SHARE_EQUAL * 2)

/**
 * Shares between an eighth and four equal shares, an equal share on average over the heads that lose anything; the
 * others, which no policy serves, get one.
 *
 * loss    [heads][2], >= 0: with half and with twice an equal share, all else read. Between these, and beyond, a head's
 *         loss is taken to fall as a power of its share.
 * reach   1: one page more would reduce every head's loss equally, the best for these losses; 0: equal shares; between,
 *         that power of the best ones.
 * shares  [heads], out.
 * Pure. O(heads).
 */
FV_API void fv_tune_shares(size_t heads, const double (*loss)[2], double reach, uint16_t *shares);

#ifdef __cplusplus
}
#endif

#endif
