/* compaction.h - the dead rows of an index are taken out. */
#ifndef FV_COMPACTION_H
#define FV_COMPACTION_H

#include "index/index_state.h"

/* For who has the change. Rows move up; in a graph, those with a dead neighbour get others in its place, among those
 * that it led to. False: no memory, nothing has changed. Memory while it works: twice the index. */
bool fv_index_compact(fv_index *index, const fv_parallel *parallel);

#endif
