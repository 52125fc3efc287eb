/* tune_shares.h - divides a budget over heads by what reading less costs each of them. */
#ifndef FOVEA_TUNE_SHARES_H
#define FOVEA_TUNE_SHARES_H

#include <stddef.h>
#include <stdint.h>

#define CLI_SHARE_EQUAL 1024 /* as fv_select_config.head_share counts */
#define CLI_SHARE_HALF (CLI_SHARE_EQUAL / 2)
#define CLI_SHARE_DOUBLE (CLI_SHARE_EQUAL * 2)

/** How fast a head's loss falls as its share s grows: loss ~ s^-slope. */
typedef enum cli_share_rule {
    CLI_SHARES_ROOT,  /* slope 1 for all: shares in proportion to the root of the loss */
    CLI_SHARES_SLOPES /* as measured, head by head */
} cli_share_rule;

/**
 * Shares under which one page more would take equally much off every head's loss, between an eighth and four equal
 * shares, an equal share on average over the heads that lose anything; the others, which no policy serves, get one.
 *
 * loss    [heads][2], >= 0: with half and with twice an equal share, all else read.
 * shares  [heads], out.
 */
void cli_shares_make(size_t heads, const double (*loss)[2], cli_share_rule rule, uint16_t *shares);

#endif
