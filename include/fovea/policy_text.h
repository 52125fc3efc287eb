/* policy_text.h - a policy as one line of text: "name" or "name:key=value,...". Every front end takes the same. Hosted.
 *
 *   dense
 *   window:window=512,sinks=16
 *   pattern:window=128,block=64,globals=0+7,log-stride=on,landmarks=on      (globals=none: no global token)
 *   fovea:selector=shadow,budget=0.16,floor=64,window=128,sinks=16,dense-below=auto,tail=off,certificate=off
 *
 * What can be left out has the default that fv_policy_default() gives; the order of keys does not matter.
 *
 *   fovea's keys   value
 *   selector       shadow (FV_SELECTOR_FOVEA) or cascade (FV_SELECTOR_CASCADE)
 *   budget         share of the visible keys, above 0, at most 1  \
 *   pages          pages of 16 tokens                              > at most one of the three; without `floor`, floor
 *   top-p          share of the estimated mass, above 0, at most 1 /  is then 0 (fv_policy_set_budget() and its kin)
 *   floor, cap     least pages of budget and top-p, most pages of top-p
 *   floor-share    share of the visible keys that the floor holds at most, above 0, at most 1
 *   window, sinks  newest and first tokens that are always read
 *   dense-below    tokens, or auto
 *   tail           codes or off
 *   certificate    on or off
 *   quality        relative error, above 0; turns the certificate on
 *   question       last tokens of each prompt that read everything; also of window
 */
#ifndef FOVEA_POLICY_TEXT_H
#define FOVEA_POLICY_TEXT_H

#include "fovea/api.h"
#include "fovea/message.h"
#include "fovea/policy.h"
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Reads `text` into `policy`. Numbers are digits with a point, whatever the locale of the process.
 *
 * policy  out; untouched on error. Points to nothing: keep, keep_until and head_share are NULL.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL), FV_ERROR_POLICY (the message names the key, what was found and what is
 *         allowed), FV_ERROR_UNSUPPORTED (left out of this build). Pure. O(length).
 */
FV_API fv_status fv_policy_parse(fv_policy *policy, const char *text, fv_message *message);

#define FV_POLICY_TEXT_BYTES 512 /* enough for every policy, with the closing zero */

/**
 * Writes the shortest text that fv_policy_parse() reads as the same policy: keys that have their default are left out.
 *
 * text    out [bytes], zero-terminated; untouched on error.
 * returns FV_OK, FV_ERROR_ARGUMENT (NULL), FV_ERROR_FULL (`bytes` are too few), FV_ERROR_POLICY (out of range, or has
 *         what text cannot say: keep, keep_until, head_share, causal 0, a block that is not a multiple of 16). Pure.
 */
FV_API fv_status fv_policy_format(const fv_policy *policy, char *text, size_t bytes);

/** Names of the fields at fault, and what is allowed: "window", "must be at least 1". Static; never NULL. */
FV_API const char *fv_policy_fault_field(fv_policy_fault fault);
FV_API const char *fv_policy_fault_text(fv_policy_fault fault);

#ifdef __cplusplus
}
#endif

#endif
