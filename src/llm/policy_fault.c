/* policy_fault.c - faults of a policy in words. */
#include "fovea/policy_text.h"

static const struct fault_words {
    const char *field, *text;
} words[] = {
#define FAULT_WORDS(NAME, field, text) {field, text},
    FV_POLICY_FAULT_LIST(FAULT_WORDS)
#undef FAULT_WORDS
};

static bool is_known(fv_policy_fault fault) { return (uint32_t)fault < FV_POLICY_FAULT_COUNT; }

const char *fv_policy_fault_field(fv_policy_fault fault) { return is_known(fault) ? words[fault].field : ""; }

const char *fv_policy_fault_text(fv_policy_fault fault) { return is_known(fault) ? words[fault].text : "unknown"; }
