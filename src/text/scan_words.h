/* scan_words.h - the scanners of words that most pre-tokenizers have, GPT-2's and Llama 3's and their kin. */
#ifndef FV_SCAN_WORDS_H
#define FV_SCAN_WORDS_H

#include "text/glyph_scan.h"

fv_scan fv_scan_gpt2;
fv_scan fv_scan_llama3;
fv_scan fv_scan_qwen2;
fv_scan fv_scan_qwen35;        /* as qwen2, marks are letters */
fv_scan fv_scan_seed_coder;    /* as qwen2, punctuation keeps no newline */
fv_scan fv_scan_minicpm5;      /* as qwen2, numbers are whole */
fv_scan fv_scan_ufakzeka;      /* as qwen2, without contractions */
fv_scan fv_scan_jais2;         /* as llama3, spaces by powers of two */
fv_scan fv_scan_exaone_moe;    /* words with one space between are one piece */
fv_scan fv_scan_youtu;         /* words with their contraction, marks are letters, single digits */
fv_scan fv_scan_tiny_aya;      /* the same, three digits */
fv_scan fv_scan_kimi_k2;       /* the same, marks are none, runs of ideographs stand alone */
fv_scan fv_scan_tekken;        /* words by case, single digits */
fv_scan fv_scan_gpt4o;         /* words by case, with their contraction, three digits */
fv_scan fv_scan_granite_embed; /* the same, marks are letters */

#endif
