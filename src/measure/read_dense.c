/* read_dense.c - copies where it can, reads where it must. */
#include "measure/read_dense.h"

fv_status fv_read_dense(fv_session *session, const fv_session *read, const int32_t *tokens, size_t count,
                        fv_session_progress_fn *progress, void *context) {
    fv_status status = read ? fv_session_copy(session, read) : FV_ERROR_ARGUMENT;
    if (status == FV_OK) return FV_OK;
    fv_policy dense;
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    status = fv_session_truncate(session, 0);
    if (status == FV_OK) status = fv_session_set_policy(session, &dense, NULL);
    if (status == FV_OK && count > 0) status = fv_session_feed(session, tokens, count, progress, context);
    return status;
}

fv_status fv_rewind_dense(fv_session *session, size_t tokens) {
    fv_status status = fv_session_truncate(session, tokens);
    if (status != FV_ERROR_RANGE) return status;
    fv_policy dense, held = *fv_session_policy(session);
    fv_policy_default(FV_SELECTOR_DENSE, &dense);
    status = fv_session_set_policy(session, &dense, NULL);
    if (status == FV_OK) status = fv_session_rewind(session, tokens);
    fv_status set = fv_session_set_policy(session, &held, NULL);
    return status == FV_OK ? set : status;
}
