/* run_report.h - the last lines of `fovea run`, for people and as JSON. */
#ifndef FOVEA_RUN_REPORT_H
#define FOVEA_RUN_REPORT_H

#include "deadline_option.h"
#include "fovea/generate.h"
#include "fovea/measure/reads.h"
#include "model_options.h"

typedef struct cli_run_report {
    const fv_engine *engine;
    const cli_model_options *options;
    const cli_deadline_options *deadline;
    const fv_generator *generator;
    const fv_session *session;
    const fv_reads *reads; /* NULL: nobody asked */
    const char *attention; /* as given */
    fv_stop stop;
    uint32_t seed;
    const fv_sampler_config *sampler;
    uint32_t sampling_given, sampling_taken; /* bits of fv_sampling: asked for; from the file */
    size_t prompt_tokens;                    /* of the last prompt */
    uint32_t reused_tokens;                  /* from a file */
    bool chat;
} cli_run_report;

void cli_run_report_print(const cli_run_report *report); /* on stderr */
int cli_run_report_json(const cli_run_report *report);   /* CLI_DONE or CLI_FAILED */
void cli_reads_print(const fv_reads *reads);             /* on stderr */

#endif
