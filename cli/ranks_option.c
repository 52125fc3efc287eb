#include "ranks_option.h"

#if !CLI_HAVE_MPI
uint32_t cli_ranks_count(uint64_t *border_bytes) {
    *border_bytes = 0;
    return 1;
}
#else
#include "interrupt.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLI_TARGET cli_model_options
const cli_option cli_ranks_flags[] = {
    CLI_FLAG(TEXT, "--split", split, .value = "N,N,...",
             .help = "layers of each rank (default: by bytes of weights and cache)"),
    CLI_FLAG(REAL, "--timeout", timeout, .value = "SECONDS", .low = FV_CREW_TIMEOUT_LEAST, .high = FV_CREW_TIMEOUT_MOST,
             .help = "a rank of which nothing is heard for so long ends the job"),
};
const size_t cli_ranks_flags_count = sizeof cli_ranks_flags / sizeof cli_ranks_flags[0];

static fv_crew *job;

fv_crew *cli_ranks(void) { return job; }

/* From a thread of the job; MPI_Abort follows. */
static void end_with(void *context, const char *sentence) {
    (void)context;
    fprintf(stderr, "fovea: error: %s\n", sentence);
}

/* Ranks greet each other before a verb reads its flags: all look for this one. */
static double timeout_of(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i++) {
        char *end;
        if (strcmp(argv[i], "--timeout") != 0) continue;
        double seconds = strtod(argv[i + 1], &end);
        if (!*end && seconds >= FV_CREW_TIMEOUT_LEAST && seconds <= FV_CREW_TIMEOUT_MOST) return seconds;
    }
    return CLI_TIMEOUT;
}

int cli_ranks_main(int argc, char **argv, int (*verb)(int argc, char **argv)) {
    fv_message message = {""};
    const fv_crew_config config = {timeout_of(argc, argv), end_with, NULL};
    fv_status status = fv_crew_open(&job, &config, &message);
    if (status != FV_OK) return cli_fail("%s", message.text[0] ? message.text : fv_status_text(status));
    int code;
    if (fv_crew_self(job) == 0) {
        code = cli_finish(verb(argc, argv));
    } else {
        signal(SIGINT, SIG_IGN); /* rank 0 comes to its end, and then the job does */
        code = fv_crew_work(job);
    }
    fv_crew_close(job, code);
    job = NULL;
    return code;
}

#define MIB (1024.0 * 1024.0)

static void say_shares(void) {
    for (uint32_t rank = 0; rank < fv_crew_count(job); rank++) {
        fv_rank_share share;
        fv_crew_share(job, rank, &share);
        cli_note("rank %" PRIu32 " on %s: layers %" PRIu32 " to %" PRIu32 ", %.1f MiB of weights, %.1f MiB of a full "
                 "cache, %" PRIu32 " threads",
                 rank, share.host, share.range.first, share.range.first + share.range.count - 1,
                 (double)share.bytes.weights / MIB, (double)share.bytes.cache / MIB, share.threads);
    }
}

fv_status cli_ranks_engine_open(fv_engine **engine, const fv_engine_config *config, const cli_model_options *options,
                                fv_message *message) {
    uint32_t context = options->context > 0 ? (uint32_t)options->context : 0;
    fv_status status = fv_crew_engine_open(job, engine, config, options->split, context, message);
    if (status == FV_OK && options->verbose) say_shares();
    return status;
}

uint32_t cli_ranks_count(uint64_t *border_bytes) {
    fv_crew_counts counts = {0};
    if (job) fv_crew_counts_read(job, &counts);
    *border_bytes = counts.sent_bytes;
    return job ? fv_crew_count(job) : 1;
}
#endif
