/* tuning.h - how much of a budget each layer and KV head deserves: measured on a text, tried on the next. Hosted.
 * How structs may change: docs/abi.md. */
#ifndef FOVEA_TUNING_H
#define FOVEA_TUNING_H

#include "fovea/tune.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FV_TUNING_TRIED 4 /* times as many positions are tried as are compared for each head */

/** What the caller is told and asked, from the thread that called fv_tuning_run(). Each may be NULL. */
typedef struct fv_tuning_watch {
    void *context;
    fv_session_progress_fn *progress; /* of reading a context densely; false stops */
    bool (*go_on)(void *context);     /* before each group of positions; false stops */
    void (*head)(void *context, uint32_t layer, uint32_t head, const double loss[2]); /* was measured */
} fv_tuning_watch;

/** Fill by fv_tuning_config_default(), then set llm and tokens. */
typedef struct fv_tuning_config {
    const fv_llm *llm;
    fv_pool *pool;             /* default NULL: one thread */
    fv_session_config session; /* types, micro-batch; its context and policy are not looked at. Default: exact
                                  activations, since int8 ones alone are a KL of 0.002, more than most heads cost */
    fv_policy policy;          /* chooses by the queries, with its budget; default fovea */
    const int32_t *tokens;     /* [count] of a text of the kind that the model will read */
    size_t count;              /* >= 2 * context + 1 */
    uint32_t context;          /* tokens; default 4096; above FV_TUNING_TRIED * scored */
    uint32_t scored; /* positions at its end whose predictions are compared, twice for each head; default 96 */
    fv_tuning_watch watch;
} fv_tuning_config;

FV_API void fv_tuning_config_default(fv_tuning_config *config);

/** What was found. Drop with fv_tuning_free(). */
typedef struct fv_tuning {
    fv_tune tune;      /* the shares; its path is "" */
    double (*loss)[2]; /* [layers][kv_heads], owned: KL with that head alone under the policy, with half and with twice
                          an equal share, all others reading all */
    double kl_uniform, kl_tuned; /* on the second context, with equal shares and with these; nats */
} fv_tuning;

/**
 * Reads the first context densely; then every head in turn reads its scored positions sparsely while all others read
 * all, with half and with twice an equal share. Shares follow from the divergence that this costs (fv_tune_shares()),
 * and are tried on the second context.
 *
 * returns  FV_OK, FV_ERROR_ARGUMENT, FV_ERROR_INTERRUPTED (the watch said no), FV_ERROR_MEMORY, what fv_session_open()
 * and fv_session_feed() return. *tuning untouched on error.
 */
FV_API fv_status fv_tuning_run(fv_tuning *tuning, const fv_tuning_config *config, fv_message *message);
FV_API void fv_tuning_free(fv_tuning *tuning);

#ifdef __cplusplus
}
#endif

#endif
