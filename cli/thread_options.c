/* thread_options.c - reads masks and ranges of processors as llama.cpp does. */
#include "thread_options.h"
#include "cli.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLI_TARGET cli_thread_options
const cli_option cli_thread_flags[] = {
    CLI_FLAG(TEXT, "-C --cpu-mask", mask, .value = "HEX",
             .help = "processors that threads may run on, bit 0 is the first"),
    CLI_FLAG(TEXT, "-Cr --cpu-range", range, .value = "LO-HI", .help = "the same as numbers; adds to -C"),
    CLI_FLAG(INTEGER, "--cpu-strict", strict, .value = "0|1", .high = 1, .help = "each thread on one of them alone"),
    CLI_FLAG(INTEGER, "--prio", priority, .value = "N", .low = -1, .high = 3,
             .help = "-1 low, 0 normal, 1 medium, 2 high, 3 real-time; above 0 needs rights"),
    CLI_FLAG(INTEGER, "--poll", poll, .value = "N", .high = 100,
             .help = "0..100: how long a thread waits awake for work, 2 us each"),
};
const size_t cli_thread_flags_count = sizeof cli_thread_flags / sizeof cli_thread_flags[0];

cli_thread_options cli_thread_options_default(void) {
    return (cli_thread_options){.poll = fv_pool_config_default().poll};
}

static void add_processor(fv_pool_config *config, size_t processor) {
    config->processors[processor / 64] |= (uint64_t)1 << processor % 64;
}

/* Hexadecimal digits, the lowest last; "0x" may stand in front. */
static bool add_mask(const char *text, fv_pool_config *config) {
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) text += 2;
    size_t digits = strlen(text);
    if (digits == 0 || digits > FV_POOL_PROCESSORS / 4) return false;
    for (size_t i = 0; i < digits; i++) {
        char digit[2] = {text[digits - 1 - i], 0}, *end;
        unsigned long bits = isxdigit((unsigned char)digit[0]) ? strtoul(digit, &end, 16) : 16;
        if (bits > 15) return false;
        for (size_t bit = 0; bit < 4; bit++)
            if (bits >> bit & 1) add_processor(config, 4 * i + bit);
    }
    return true;
}

static bool add_range(const char *text, fv_pool_config *config) {
    int64_t ends[2];
    const char *dash = strchr(text, '-');
    char low[16];
    size_t count = 0;
    if (!dash || dash == text || (size_t)(dash - text) >= sizeof low) return false;
    snprintf(low, sizeof low, "%.*s", (int)(dash - text), text);
    if (!cli_integers_parse(low, ends, &count, 1) || count != 1) return false;
    if (!cli_integers_parse(dash + 1, ends, &count, 2) || count != 2) return false;
    if (ends[0] > ends[1] || ends[1] >= FV_POOL_PROCESSORS) return false;
    for (int64_t processor = ends[0]; processor <= ends[1]; processor++) add_processor(config, (size_t)processor);
    return true;
}

int cli_pool_config(fv_pool_config *config, const char *verb, int64_t threads, const cli_thread_options *options) {
    *config = fv_pool_config_default();
    if (options->mask && !add_mask(options->mask, config))
        return cli_usage_error(verb, "-C takes up to %d hexadecimal digits, not '%s'", FV_POOL_PROCESSORS / 4,
                               options->mask);
    if (options->range && !add_range(options->range, config))
        return cli_usage_error(verb, "-Cr takes two numbers of processors (0-3), not '%s'", options->range);
    config->threads = threads > 0 ? (uint32_t)threads : 0;
    config->strict = (uint32_t)options->strict;
    config->priority = (int32_t)options->priority;
    config->poll = (uint32_t)options->poll;
    return CLI_GO_ON;
}

int cli_pool_open(fv_pool **pool, const char *verb, int64_t threads, const cli_thread_options *options) {
    fv_pool_config config;
    fv_message message = {""};
    int result = cli_pool_config(&config, verb, threads, options);
    if (result != CLI_GO_ON) return result;
    fv_status status = fv_pool_open_config(pool, &config, &message);
    return status == FV_OK ? CLI_GO_ON : cli_fail_status(status, &message);
}
