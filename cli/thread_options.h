/* thread_options.h - llama.cpp's flags about where threads run and how they wait, and the pool that is opened by
 * them. */
#ifndef FOVEA_THREAD_OPTIONS_H
#define FOVEA_THREAD_OPTIONS_H

#include "fovea/pool.h"
#include "options.h"

typedef struct cli_thread_options {
    fv_pool_config pool;
    const char *mask, *range; /* NULL: any processor */
} cli_thread_options;

cli_thread_options cli_thread_options_default(void);

extern const cli_option cli_thread_flags[]; /* a group whose target is a cli_thread_options */
extern const size_t cli_thread_flags_count;

/** What the options say; threads below 1: one for each processor. CLI_GO_ON or CLI_USAGE (a mask that is none). */
int cli_pool_config(fv_pool_config *config, const char *verb, int64_t threads, const cli_thread_options *options);

/** threads below 1: one for each processor. CLI_GO_ON, CLI_USAGE (a mask that is none) or CLI_FAILED. */
int cli_pool_open(fv_pool **pool, const char *verb, int64_t threads, const cli_thread_options *options);

#endif
