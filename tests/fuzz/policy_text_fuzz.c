/* policy_text_fuzz.c - any text is a policy in range, whose own text is read as the same policy, or an error that
 * leaves it alone. */
#include "fovea/policy_text.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    if (!(condition)) abort()

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1), again[FV_POLICY_TEXT_BYTES], once_more[FV_POLICY_TEXT_BYTES];
    if (!text) return 0;
    if (size) memcpy(text, data, size);
    text[size] = 0;
    fv_policy policy, before, back;
    fv_message message = {""};
    memset(&before, 0x5a, sizeof before);
    memcpy(&policy, &before, sizeof before);
    if (fv_policy_parse(&policy, text, &message) != FV_OK) {
        REQUIRE(memcmp(&policy, &before, sizeof before) == 0);
        REQUIRE(message.text[0]);
    } else {
        REQUIRE(fv_policy_check(&policy) == FV_OK);
        REQUIRE(fv_policy_format(&policy, again, sizeof again) == FV_OK);
        REQUIRE(fv_policy_parse(&back, again, &message) == FV_OK);
        REQUIRE(fv_policy_format(&back, once_more, sizeof once_more) == FV_OK);
        REQUIRE(strcmp(again, once_more) == 0);
        REQUIRE(back.budget == policy.budget && back.floor == policy.floor && back.quality == policy.quality);
    }
    free(text);
    return 0;
}
