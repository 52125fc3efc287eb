/* core.h - the whole core: attention over memory that the caller hands in. It needs no C library, no heap, no threads
 * and no operating system. Link libfovea_core (fovea::core), or libfovea, which contains it. The surface of the
 * published crate is apart: fovea/reference/pattern.h. */
#ifndef FOVEA_CORE_H
#define FOVEA_CORE_H

#include "fovea/attend.h"
#include "fovea/attention.h"
#include "fovea/cache.h"
#include "fovea/deadline.h"
#include "fovea/exchange.h"
#include "fovea/executor.h"
#include "fovea/isa.h"
#include "fovea/model.h"
#include "fovea/parallel.h"
#include "fovea/plan.h"
#include "fovea/policy.h"
#include "fovea/report.h"
#include "fovea/state.h"
#include "fovea/status.h"
#include "fovea/store.h"
#include "fovea/version.h"
#include "fovea/weight.h"

#endif
