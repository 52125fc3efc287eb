/* scan_scripts.h - scanners of runs of one script and of digits in threes from the right. What lies between two finds
 * is a piece too. */
#ifndef FV_SCAN_SCRIPTS_H
#define FV_SCAN_SCRIPTS_H

#include "text/glyph_scan.h"

bool fv_is_han(uint32_t code); /* an ideograph, by kimi-k2's list of blocks */

fv_scan fv_scan_youtu_scripts; /* Hangul, wide punctuation, bopomofo, ideographs and kana: runs of each */
fv_scan fv_scan_afmoe_scripts; /* scripts without spaces between words: runs of all */

fv_scan fv_scan_thousands; /* of afmoe and tiny_aya: numbers in threes from the right */
fv_scan fv_scan_superbpe;  /* before each three of [0-9] that are followed by no digits or by threes only */

#endif
