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
