/* model_options.h - the flags that verbs share: the model, its cache, where threads run; and what is opened by them. */
#ifndef FOVEA_MODEL_OPTIONS_H
#define FOVEA_MODEL_OPTIONS_H

#include "cli.h"
#include "fovea/engine.h"
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

typedef struct cli_model_options {
    const char *model;
    const char *tune; /* NULL: MODEL.fovea.json, if it is there; "none" */
    cli_texts allowed_keys;
    int64_t threads; /* -1: one per processor */
    cli_thread_options placement;
    int64_t context;           /* -1: not given; 0: the model's training context */
    fv_session_config session; /* types, of which CLI_TYPE_AUTO is one; micro-batch */
    int64_t batch;
    bool exact, verbose, check_tensors;
    int repack;        /* index of its words: see cli_repack_of() */
    const char *split; /* NULL: by bytes; of layers over ranks, and the seconds that a rank may be silent */
    double timeout;    /* CLI_TIMEOUT */
    uint32_t ranks_per_stage;
} cli_model_options;

#define CLI_ELEMENT_WORD(NAME, name) #name " "
#define CLI_ELEMENT_WORDS FV_ELEMENT_LIST(CLI_ELEMENT_WORD) /* for CLI_CHOICE: the index is the fv_element */
#define CLI_TYPE_WORDS CLI_ELEMENT_WORDS "auto"             /* likewise, and CLI_TYPE_AUTO */
enum { CLI_TYPE_AUTO = FV_ELEMENT_COUNT };

cli_model_options cli_model_options_default(void);

#define CLI_TIMEOUT 30.0

/* Under mpirun: ranks_option.h. */
#if CLI_HAVE_MPI
extern const cli_option cli_ranks_flags[];
extern const size_t cli_ranks_flags_count;
#define CLI_RANKS_GROUP(OPTIONS) CLI_COUNTED("under mpirun", cli_ranks_flags, OPTIONS),
#else
#define CLI_RANKS_GROUP(OPTIONS)
#endif

/** The flag groups of every verb that runs a model; a verb adds its own -c, since its meaning differs. */
#define CLI_MODEL_GROUPS(OPTIONS) \
    CLI_COUNTED("model", cli_model_flags, OPTIONS), CLI_COUNTED("weights", cli_weight_flags, OPTIONS), \
        CLI_COUNTED("cache", cli_cache_flags, OPTIONS), \
        CLI_COUNTED("where threads run", cli_thread_flags, &(OPTIONS)->placement), \
        CLI_RANKS_GROUP(OPTIONS) CLI_COUNTED("llama.cpp's flags without effect here", cli_ignored_flags, OPTIONS)
extern const cli_option cli_model_flags[], cli_weight_flags[], cli_cache_flags[], cli_ignored_flags[];
extern const size_t cli_model_flags_count, cli_weight_flags_count, cli_cache_flags_count, cli_ignored_flags_count;

fv_repack cli_repack_of(const cli_model_options *options);

/** The fv_element of one of CLI_TYPE_WORDS. auto: bf16 where keys and values are multiplied as pairs of bf16, as the
 * instruction set in use says (under mpirun that of rank 0); else f16. */
uint32_t cli_cache_type(uint32_t word);

/** The options' types, none of them auto any more, batch and activations. */
fv_session_config cli_session_config(const cli_model_options *options);

/** Adds to what the library says of a model the flag that it advises. */
void cli_advise(fv_message *message);

/** cli_outcome() of what a session did; where numbers went wrong, also a note that says where to look. */
int cli_fault(fv_status status, const fv_message *message, const char *model);

/** `result`, or CLI_FAILED where it was CLI_DONE and the model's file was written to while it was in use. */
int cli_check_file(const fv_engine *engine, int result);

/** CLI_GO_ON, CLI_USAGE (no -m, a mask that is none) or CLI_FAILED. *engine is NULL but on CLI_GO_ON. */
int cli_engine_open(fv_engine **engine, const char *verb, const cli_model_options *options);

/** fv_engine_tune_attach() for each policy, and a note that says so. CLI_GO_ON or CLI_FAILED. */
int cli_attach_tune(const fv_engine *engine, fv_policy *policies, size_t count);

/** fv_engine_memory_check() of such a session: of `context` tokens, `tokens` of them known. A remark is printed.
 * CLI_GO_ON or CLI_FAILED. */
int cli_memory_check(const fv_engine *engine, const cli_model_options *options, const fv_policy *policy,
                     uint32_t context, uint64_t tokens);

/** A session as the options say, with `context` tokens. A policy that chooses gets the engine's shares, and a note says
 *  so. CLI_GO_ON or CLI_FAILED. */
int cli_session_open(fv_session **session, const fv_engine *engine, const cli_model_options *options, uint32_t context,
                     fv_policy *policy);

/** CLI_GO_ON, or the usage error if there is no model. */
int cli_need_model(const char *verb, const char *model);

#endif
