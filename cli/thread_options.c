/* thread_options.c - the flags of threads, and the pool that is opened by them. */
#include "thread_options.h"
#include "cli.h"

#define CLI_TARGET cli_thread_options
const cli_option cli_thread_flags[] = {
    CLI_FLAG(TEXT, "-C --cpu-mask", mask, .value = "HEX",
             .help = "processors that threads may run on, bit 0 is the first"),
    CLI_FLAG(TEXT, "-Cr --cpu-range", range, .value = "LO-HI", .help = "the same as numbers; adds to -C"),
    CLI_FLAG(U32, "--cpu-strict", pool.strict, .value = "0|1", .high = 1, .help = "each thread on one of them alone"),
    CLI_FLAG(I32, "--prio", pool.priority, .low = -1, .high = 3,
             .help = "-1 low, 0 normal, 1 medium, 2 high, 3 real-time; above 0 needs rights"),
    CLI_FLAG(U32, "--poll", pool.poll, .high = 100,
             .help = "0..100: how long a thread waits awake for work, 2 us each"),
};
const size_t cli_thread_flags_count = sizeof cli_thread_flags / sizeof cli_thread_flags[0];

cli_thread_options cli_thread_options_default(void) {
    cli_thread_options options = {0};
    fv_pool_config_default(&options.pool);
    return options;
}

int cli_pool_config(fv_pool_config *config, const char *verb, int64_t threads, const cli_thread_options *options) {
    *config = options->pool;
    if (options->mask && !fv_pool_config_mask(config, options->mask))
        return cli_usage_error(verb, "-C takes up to %d hexadecimal digits, not '%s'", FV_POOL_PROCESSORS / 4,
                               options->mask);
    if (options->range && !fv_pool_config_range(config, options->range))
        return cli_usage_error(verb, "-Cr takes two numbers of processors (0-3), not '%s'", options->range);
    config->threads = threads > 0 ? (uint32_t)threads : 0;
    return CLI_GO_ON;
}

int cli_pool_open(fv_pool **pool, const char *verb, int64_t threads, const cli_thread_options *options) {
    fv_pool_config config;
    fv_message message = {""};
    int result = cli_pool_config(&config, verb, threads, options);
    if (result != CLI_GO_ON) return result;
    return cli_outcome(fv_pool_open_config(pool, &config, &message), &message);
}
