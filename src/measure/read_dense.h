/* read_dense.h - a document read densely, once for several policies. */
#ifndef FV_READ_DENSE_H
#define FV_READ_DENSE_H

#include "fovea/session.h"

/** Makes `session` hold `tokens` and no others, read densely: a copy of `read`, which holds them, or, without one or
 *  where it keeps other landmarks, read here. Its policy may be another one afterwards. Returns what fv_session_feed()
 *  returns. */
fv_status fv_read_dense(fv_session *session, const fv_session *read, const int32_t *tokens, size_t count,
                        fv_session_progress_fn *progress, void *context);

/* Back to the first `tokens`; where a sliding window has lost them they are read densely again. The policy stays. */
fv_status fv_rewind_dense(fv_session *session, size_t tokens);

#endif
