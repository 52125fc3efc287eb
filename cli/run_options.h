/* run_options.h - what can be asked of `fovea run`. */
#ifndef FOVEA_RUN_OPTIONS_H
#define FOVEA_RUN_OPTIONS_H

#include "deadline_option.h"
#include "fovea/sampler.h"
#include "model_options.h"
#include "run_session.h"

typedef struct run_options {
    cli_model_options model;
    cli_kept_options kept;
    cli_deadline_options deadline;
    const char *prompt, *file, *system, *chat_template, *template_file, *attention;
    bool jinja, no_jinja;
    fv_sampler_config sampler;
    uint32_t sampling_given; /* bit i: flag i of sampler_flags */
    int64_t predict, seed, lookup;
    bool chat, plain, single_turn, ignore_eos, display_prompt, escape, json, show_reads, verbose_prompt, special;
    int reasoning; /* fv_chat_reasoning */
} run_options;

/* Groups whose target is a run_options. */
extern const cli_option run_text_flags[], run_limit_flags[], run_sampler_flags[];
extern const size_t run_text_flags_count, run_limit_flags_count, run_sampler_flags_count;

#endif
