/* stage_wire.c - see stage_wire.h. Nothing that came from elsewhere is believed before fv_stage_is_whole() has said so.
 */
#include "llm/stage_wire.h"
#include "fovea/version.h"
#include "llm/hash64.h"
#include <stdlib.h>
#include <string.h>

fv_status fv_stage_begin(fv_stage_message *message, fv_stage_kind kind, uint32_t subject, uint32_t count,
                         size_t bytes) {
    if (bytes > FV_STAGE_MESSAGE_MOST - sizeof(fv_stage_head)) return FV_ERROR_OVERFLOW;
    fv_status status = fv_stage_message_reserve(message, sizeof(fv_stage_head) + bytes);
    if (status != FV_OK) return status;
    message->count = sizeof(fv_stage_head) + bytes;
    memset(message->bytes, 0, message->count);
    *fv_stage_head_of(message) =
        (fv_stage_head){.mark = FV_STAGE_MARK + (uint32_t)kind, .subject = subject, .count = count};
    return FV_OK;
}

/* Bytes of a step's body, UINT64_MAX if its parts do not even fit. */
static uint64_t step_bytes(const fv_stage_message *message, size_t width, bool answer) {
    uint32_t count = fv_stage_head_of(message)->count;
    uint64_t rows = 0, room = message->count - sizeof(fv_stage_head);
    if (count > room / sizeof(fv_stage_part)) return UINT64_MAX;
    const fv_stage_part *parts = fv_stage_body(message);
    for (uint32_t i = 0; i < count; i++)
        if (parts[i].status == FV_OK) rows += answer ? 1 : parts[i].count;
    if (rows > room) return UINT64_MAX; /* a row has four bytes at least */
    return count * (uint64_t)sizeof(fv_stage_part) + rows * width * sizeof(float);
}

/* Likewise of a call, which has ids in place of rows. */
static uint64_t call_bytes(const fv_stage_message *message) {
    uint32_t count = fv_stage_head_of(message)->count;
    uint64_t ids = 0, room = message->count - sizeof(fv_stage_head);
    if (count > room / sizeof(fv_stage_part)) return UINT64_MAX;
    const fv_stage_part *parts = fv_stage_body(message);
    for (uint32_t i = 0; i < count; i++) ids += parts[i].count;
    return count * (uint64_t)sizeof(fv_stage_part) + ids * sizeof(int32_t);
}

/* What has a number for each stage. */
static bool is_of_layers(const fv_stage_message *message) {
    fv_stage_kind kind = fv_stage_kind_of(message);
    return kind == FV_STAGE_LAYERS || kind == FV_STAGE_SESSION_SAVE || kind == FV_STAGE_SESSION_WAKE ||
           kind == FV_STAGE_SESSION_DROP;
}

static uint64_t layers_bytes(const fv_stage_message *message) {
    uint64_t bytes = fv_stage_head_of(message)->count * (uint64_t)sizeof(uint32_t);
    return fv_stage_kind_of(message) == FV_STAGE_LAYERS ? bytes : bytes + sizeof(fv_stage_session);
}

bool fv_stage_is_whole(const fv_stage_message *message, size_t width, bool answer) {
    if (message->count < sizeof(fv_stage_head) || !message->bytes) return false;
    const fv_stage_head *head = fv_stage_head_of(message);
    uint64_t bytes = 0, count = head->count, body = message->count - sizeof *head;
    if (is_of_layers(message)) return layers_bytes(message) == body;
    switch (fv_stage_kind_of(message)) {
    case FV_STAGE_HELLO:
        bytes = sizeof(fv_stage_hello);
        break;
    case FV_STAGE_STEPPER_OPEN:
    case FV_STAGE_SEQUENCE_OPEN:
    case FV_STAGE_SEQUENCE_POLICY:
        bytes = sizeof(fv_stage_opening) + count * sizeof(uint16_t);
        break;
    case FV_STAGE_REPORT:
        bytes = sizeof(fv_report);
        break;
    case FV_STAGE_STEP:
        bytes = step_bytes(message, width, answer);
        break;
    case FV_STAGE_CALL:
    case FV_STAGE_CALL_EACH:
        bytes = call_bytes(message);
        break;
    case FV_STAGE_ROWS:
        bytes = count * (answer ? width * sizeof(float) : sizeof(fv_stage_row));
        if (answer && head->status != FV_OK) bytes = count * sizeof(fv_stage_row);
        break;
    case FV_STAGE_END:
    case FV_STAGE_STEPPER_CLOSE:
    case FV_STAGE_SEQUENCE_CLOSE:
    case FV_STAGE_SEQUENCE_FILL:
    case FV_STAGE_SEQUENCE_CUT:
    case FV_STAGE_REPORT_RESET:
        break;
    default:
        return false;
    }
    return bytes == body;
}

fv_status fv_stage_opening_put(fv_stage_message *message, fv_stage_kind kind, uint32_t subject, uint32_t parts,
                               const fv_session_config *config) {
    const fv_policy *policy = &config->policy;
    uint32_t shares = policy->head_share ? policy->head_share_count : 0;
    if (policy->keep || policy->keep_until) return FV_ERROR_UNSUPPORTED;
    size_t bytes = sizeof(fv_stage_opening) + (size_t)shares * sizeof(uint16_t);
    fv_status status = fv_stage_begin(message, kind, subject, shares, bytes);
    if (status != FV_OK) return status;
    fv_stage_opening *opening = fv_stage_body(message);
    opening->config = *config;
    opening->config.policy.head_share = NULL;
    opening->config.policy.head_share_count = 0;
    opening->parts = parts;
    if (shares) memcpy(opening + 1, policy->head_share, shares * sizeof(uint16_t));
    return FV_OK;
}

fv_status fv_stage_opening_get(const fv_stage_message *message, fv_session_config *config, uint16_t **shares) {
    const fv_stage_opening *opening = fv_stage_body(message);
    uint32_t count = fv_stage_head_of(message)->count;
    uint16_t *copy = count ? malloc(count * sizeof *copy) : NULL;
    if (count && !copy) return FV_ERROR_MEMORY;
    if (copy) memcpy(copy, opening + 1, count * sizeof *copy);
    *config = opening->config;
    config->policy.keep = NULL;
    config->policy.keep_until = NULL;
    config->policy.keep_tokens = 0;
    config->policy.head_share = copy;
    config->policy.head_share_count = count;
    *shares = copy;
    return FV_OK;
}

uint64_t fv_stage_build(void) {
    const uint32_t numbers[] = {FV_STAGE_MARK,
                                FV_ABI_VERSION,
                                FV_VERSION_NUMBER,
                                FV_STAGE_KINDS,
                                (uint32_t)sizeof(fv_session_config),
                                (uint32_t)sizeof(fv_stage_opening),
                                (uint32_t)sizeof(fv_stage_part),
                                (uint32_t)sizeof(fv_report)};
    return fv_hash64(0, numbers, sizeof numbers);
}
