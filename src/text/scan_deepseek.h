/* scan_deepseek.h - the scanners of DeepSeek's pre-tokenizers and of those that cut as they do. */
#ifndef FV_SCAN_DEEPSEEK_H
#define FV_SCAN_DEEPSEEK_H

#include "text/glyph_scan.h"

fv_scan fv_scan_cased_letters;    /* of deepseek-llm: \s? and letters of scripts that have case, or had by Unicode 11 */
fv_scan fv_scan_wide_punctuation; /* \s?[!-/:-~ and the like of East Asia]+ */
fv_scan fv_scan_last_spaces;      /* \s+$ */

fv_scan fv_scan_three_numbers; /* \p{N}{1,3} */
fv_scan fv_scan_cjk_kana;      /* ideographs, hiragana, katakana */
fv_scan fv_scan_deepseek_v3;   /* what is left, in deepseek-v3 */
fv_scan fv_scan_spark;         /* and in spark2_5 */

#endif
