/* placement.h - processors and priority of a pool's threads. Hosted. */
#ifndef FV_PLACEMENT_H
#define FV_PLACEMENT_H

#include "fovea/pool.h"
#include "platform/linux_only.h"
#include <sched.h>
#include <stdbool.h>

typedef struct fv_placement {
    fv_pool_config config;
    cpu_set_t before, allowed; /* of the calling thread; of the pool */
    int policy_before;
    struct sched_param priority_before;
    bool moves; /* processors, or one for each thread, were asked for */
} fv_placement;

/** Reads what the process may use. FV_OK, FV_ERROR_ARGUMENT (nothing is left; a field is out of range). */
fv_status fv_placement_init(fv_placement *placement, const fv_pool_config *config, fv_message *message);

uint32_t fv_placement_processors(const fv_placement *placement); /* that threads may run on, >= 1 */

/** Places the calling thread as worker number `worker`. 0, or an errno. */
int fv_placement_apply(const fv_placement *placement, size_t worker);

void fv_placement_undo(const fv_placement *placement); /* for the thread that called fv_placement_init() */

#endif
