/* deadline_option.c - --deadline and --on-deadline, and what became of the tokens. */
#include "deadline_option.h"
#include "cli.h"
#include "fovea/machine.h"
#include <inttypes.h>
#include <stdio.h>

#define CLI_TARGET cli_deadline_options
enum { FLAG_DEADLINE, FLAG_ON_DEADLINE, CHOICE_FAIL = 1 };
static const char *const choice_names[] = {"best", "fail"};
const cli_option cli_deadline_flags[] = {
    CLI_FLAG(REAL, "--deadline", milliseconds, .value = "MS", .low = 0.001, .high = 86400000, .standard = "none",
             .help = "each token of an answer must be through the layers so soon; of the time that products\n"
                     "leave each layer gets the same share to read in. Prompts are read whole"),
    CLI_FLAG(CHOICE, "--on-deadline", on_deadline, .value = "best|fail", .choices = "best fail",
             .help = "best: a token takes what was read in time; fail: the answer ends, exit code 1"),
};
const size_t cli_deadline_flags_count = sizeof cli_deadline_flags / sizeof cli_deadline_flags[0];

int cli_deadline_check(const char *verb, const cli_deadline_options *options) {
    bool alone = (options->given & 1u << FLAG_ON_DEADLINE) && !(options->given & 1u << FLAG_DEADLINE);
    return alone ? cli_usage_error(verb, "--on-deadline needs --deadline MS") : CLI_GO_ON;
}

int cli_deadline_set(const cli_deadline_options *options, fv_session *session) {
    fv_message message = {""};
    const fv_token_deadline deadline = {.clock = fv_machine_clock,
                                        .token_ns = (uint64_t)(options->milliseconds * 1e6),
                                        .on_deadline =
                                            options->on_deadline == CHOICE_FAIL ? FV_DEADLINE_FAIL : FV_DEADLINE_BEST};
    if (options->milliseconds <= 0) return CLI_GO_ON;
    fv_status status = fv_session_set_deadline(session, &deadline, &message);
    return status == FV_OK ? CLI_GO_ON : cli_fail("--deadline: %s", message.text);
}

void cli_deadline_print(const cli_deadline_options *options, const fv_session *session) {
    const fv_deadline_counts *counts = fv_session_deadline_counts(session);
    if (options->milliseconds <= 0) return;
    fprintf(stderr,
            "deadline: %g ms, %s: of %" PRIu64 " tokens %" PRIu64 " were cut short, %" PRIu64 " failed, %" PRIu64
            " were late all the same\n",
            options->milliseconds, choice_names[options->on_deadline], counts->tokens, counts->cut, counts->failed,
            counts->late);
}

void cli_deadline_json(const cli_deadline_options *options, const fv_session *session, json_t *document) {
    const fv_deadline_counts *counts = fv_session_deadline_counts(session);
    json_t *object = json_object();
    CLI_ADD(object, {"ms", cli_real(options->milliseconds)}, {"on", cli_text(choice_names[options->on_deadline])},
            {"tokens", cli_count(counts->tokens)}, {"cut", cli_count(counts->cut)}, {"late", cli_count(counts->late)},
            {"failed", cli_count(counts->failed)});
    cli_json_set(document, "deadline", options->milliseconds > 0 ? object : json_null());
    if (options->milliseconds <= 0) json_decref(object);
}
