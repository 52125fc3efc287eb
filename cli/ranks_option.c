#include "ranks_option.h"
#include "fovea/machine.h"

/* Where FV_ISA names none, opening a model will say so. */
static fv_isa own_isa(void) {
    fv_isa limit, reached = FV_ISA_SCALAR;
    (void)fv_machine_isa(&limit, &reached, NULL);
    return reached;
}

#if !CLI_HAVE_MPI
uint32_t cli_ranks_count(uint64_t *border_bytes) {
    *border_bytes = 0;
    return 1;
}

uint32_t cli_ranks_seed(void) { return fv_machine_seed(); }

fv_isa cli_ranks_isa(void) { return own_isa(); }
#else
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLI_TARGET cli_model_options
const cli_option cli_ranks_flags[] = {
    CLI_FLAG(TEXT, "--split", split, .value = "N,N,...|answers",
             .help = "layers of each stage (default: by bytes, for prompts; answers: for those of many sequences)"),
    CLI_FLAG(U32, "--ranks-per-stage", ranks_per_stage, .low = 1, .high = FV_EXCHANGE_RANKS,
             .help = "ranks that have the same layers, and each some of a context's segments"),
    CLI_FLAG(REAL, "--timeout", timeout, .value = "SECONDS", .low = FV_CREW_TIMEOUT_LEAST, .high = FV_CREW_TIMEOUT_MOST,
             .help = "a rank of which nothing is heard for so long ends the job"),
};
const size_t cli_ranks_flags_count = sizeof cli_ranks_flags / sizeof cli_ranks_flags[0];

static fv_crew *job;

fv_crew *cli_ranks(void) { return job; }

static int errors = STDERR_FILENO; /* where faults are told, also by ranks that are silent otherwise */

/* From a thread of the job; MPI_Abort follows. */
static void end_with(void *context, const char *sentence) {
    (void)context;
    dprintf(errors, "fovea: error: %s\n", sentence);
}

/* Ranks greet each other before a verb reads its flags: all look for these. */
static double number_of(int argc, char **argv, const char *flag, double low, double high, double standard) {
    for (int i = 1; i + 1 < argc; i++) {
        char *end;
        if (strcmp(argv[i], flag) != 0) continue;
        double number = strtod(argv[i + 1], &end);
        if (!*end && number >= low && number <= high) return number;
    }
    return standard;
}

/* Front ends of one context must do the same: none reads what the others can't, and the first alone speaks. */
static int make_alike(int argc, char **argv) {
    static const char *const alike[] = {"run", "ppl", "eval", "bench"};
    bool is_alike = false;
    int nothing = open("/dev/null", O_RDWR);
    for (size_t i = 0; i < sizeof alike / sizeof alike[0] && argc > 1; i++)
        is_alike = is_alike || strcmp(argv[1], alike[i]) == 0;
    if (nothing < 0) return cli_fail("/dev/null can't be opened");
    dup2(nothing, STDIN_FILENO);
    if (fv_crew_self(job) > 0) {
        errors = dup(STDERR_FILENO);
        dup2(nothing, STDOUT_FILENO);
        dup2(nothing, STDERR_FILENO);
    }
    close(nothing);
    if (is_alike) return CLI_GO_ON;
    return cli_usage_error("", "--ranks-per-stage is for run, ppl, eval and bench");
}

static int front(int argc, char **argv, int (*verb)(int argc, char **argv)) {
    int code = fv_crew_per_stage(job) > 1 ? make_alike(argc, argv) : CLI_GO_ON;
    if (code == CLI_GO_ON) code = verb(argc, argv);
    code = cli_finish(code);
    fv_crew_await_end(job, code);
    return code;
}

int cli_ranks_main(int argc, char **argv, int (*verb)(int argc, char **argv)) {
    fv_message message = {""};
    const fv_crew_config config = {
        .ranks_per_stage = (uint32_t)number_of(argc, argv, "--ranks-per-stage", 1, FV_EXCHANGE_RANKS, 1),
        .timeout_seconds = number_of(argc, argv, "--timeout", FV_CREW_TIMEOUT_LEAST, FV_CREW_TIMEOUT_MOST, CLI_TIMEOUT),
        .on_fault = end_with};
    fv_status status = fv_crew_open(&job, &config, &message);
    if (status != FV_OK) return cli_fail("%s", message.text[0] ? message.text : fv_status_text(status));
    if (fv_crew_self(job) > 0) signal(SIGINT, SIG_IGN); /* rank 0 comes to its end, and then the job does */
    int code = fv_crew_has_front(job) ? front(argc, argv, verb) : fv_crew_work(job);
    fv_crew_close(job, code);
    job = NULL;
    return code;
}

uint32_t cli_ranks_seed(void) { return job ? fv_crew_seed(job) : fv_machine_seed(); }

fv_isa cli_ranks_isa(void) { return job ? (fv_isa)fv_crew_isa(job) : own_isa(); }

#define MIB (1024.0 * 1024.0)

static void say_shares(void) {
    for (uint32_t rank = 0; rank < fv_crew_count(job); rank += fv_crew_per_stage(job)) {
        fv_rank_share share;
        fv_crew_share(job, rank, &share);
        cli_note("rank %" PRIu32 " on %s: layers %" PRIu32 " to %" PRIu32 ", %.1f MiB of weights, %.1f MiB of a full "
                 "cache, %" PRIu32 " threads%s",
                 rank, share.host, share.range.first, share.range.first + share.range.count - 1,
                 (double)share.bytes.weights / MIB, (double)share.bytes.cache / MIB, share.threads,
                 fv_crew_per_stage(job) > 1 ? ", and the next ranks alike" : "");
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
