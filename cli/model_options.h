/* model_options.h - the flags that every verb with a model shares, and what is opened by them. */
#ifndef FOVEA_MODEL_OPTIONS_H
#define FOVEA_MODEL_OPTIONS_H

#include "cli.h"
#include "fovea/session.h"
#include "options.h"
#include "thread_options.h"
#include "tune_file.h"

typedef struct cli_model_options {
    const char *model;
    const char *tune; /* NULL: MODEL.fovea.json, if it is there; "none" */
    int64_t threads;  /* -1: one per processor */
    cli_thread_options placement;
    int64_t context; /* -1: not given; 0: the model's training context */
    int64_t batch, micro_batch;
    int key_type, value_type; /* fv_element */
    bool exact;
    int repack; /* cli_repack_mode, or a word of the same meaning behind it */
} cli_model_options;

typedef enum cli_repack_mode { CLI_REPACK_AUTO, CLI_REPACK_ON, CLI_REPACK_OFF } cli_repack_mode;

#define CLI_ELEMENT_WORD(NAME, name) #name " "
#define CLI_ELEMENT_WORDS FV_ELEMENT_LIST(CLI_ELEMENT_WORD) /* for CLI_CHOICE: the index is the fv_element */

cli_model_options cli_model_options_default(void);

/** The flag groups; a verb adds its own -c, since its meaning differs. */
extern const cli_option cli_model_flags[], cli_weight_flags[], cli_cache_flags[], cli_ignored_flags[];
extern const size_t cli_model_flag_count, cli_weight_flag_count, cli_cache_flag_count, cli_ignored_flag_count;

/** An opened model with its threads. */
typedef struct cli_engine {
    fv_llm *llm;
    fv_pool *pool;
    uint32_t threads;
    cli_tune tune; /* empty if there is no file */
} cli_engine;

/** Whether the options want this model's weights repacked. */
bool cli_wants_repack(const fv_llm *llm, const cli_model_options *options);

/** CLI_GO_ON, CLI_USAGE (no -m) or CLI_FAILED. Close in any case. */
int cli_engine_open(cli_engine *engine, const char *verb, const cli_model_options *options);
void cli_engine_close(cli_engine *engine);

/** A session as the options say, with `context` tokens. A policy that chooses gets the engine's shares.
 *  CLI_GO_ON or CLI_FAILED. */
int cli_session_open(fv_session **session, const cli_engine *engine, const cli_model_options *options, uint32_t context,
                     fv_policy *attention);

/** Makes `session` hold `tokens` and no others, read densely: a copy of `read`, which holds them, or, without one or
 *  where it keeps other landmarks, read here. Its policy may be another one afterwards. What fv_session_feed()
 *  returns. */
fv_status cli_session_read_dense(fv_session *session, const fv_session *read, const int32_t *tokens, size_t count,
                                 fv_session_progress_fn *progress, void *context);

/** Says once that `context` is above what the model was trained on. */
void cli_warn_context(const fv_llm *llm, uint64_t context);

const char *cli_element_name(uint32_t type); /* "f16"; "?" for an unknown one */

/** CLI_GO_ON, or the usage error if there is no model. */
int cli_need_model(const char *verb, const char *model);

#endif
