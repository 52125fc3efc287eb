/* row_change.h - one change of an index: vectors come, labels go, all at once for who reads. */
#ifndef FV_ROW_CHANGE_H
#define FV_ROW_CHANGE_H

#include "index/index_state.h"

typedef struct fv_row_change {
    size_t rows;            /* vectors that come */
    const float *vectors;   /* [rows][dimension] */
    const uint64_t *labels; /* [rows]: none that is there, unless it goes */
    size_t gone;
    const uint64_t *removed; /* [gone]: labels that go */
    const fv_parallel *parallel;
} fv_row_change;

/* For who has the change. The index is as before on error, but for its having moved into memory. FV_OK,
 * FV_ERROR_ARGUMENT (labels), and what fv_index_own() returns. */
fv_status fv_index_apply(fv_index *index, const fv_row_change *change, fv_message *message);

#endif
