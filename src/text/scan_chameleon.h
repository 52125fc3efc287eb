/* scan_chameleon.h - the scanners of chameleon's pre-tokenizer. What lies between two finds is a piece too. */
#ifndef FV_SCAN_CHAMELEON_H
#define FV_SCAN_CHAMELEON_H

#include "text/glyph_scan.h"

fv_scan fv_scan_sentinel;    /* <sentinel:[0-9]+> */
fv_scan fv_scan_image_code;  /* IMGIMG[A-I]{1,4}Z */
fv_scan fv_scan_indentation; /* [\t\n]|    |  , four spaces or two */
fv_scan fv_scan_each_sign;   /* [\p{P}!-/:-@[-`{-~] */

#endif
