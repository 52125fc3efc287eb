/* settings.h - what a request may ask for besides its prompt, and the fields that say it. */
#ifndef FV_SETTINGS_H
#define FV_SETTINGS_H

#include "fields.h"
#include "fovea/answer_text.h"
#include "fovea/policy_text.h"
#include "fovea/sampler.h"
#include "server_state.h"

typedef struct fv_bias {
    int32_t token;
    float value; /* -infinity: never */
} fv_bias;

#define FV_TOP_LOGPROBS 20 /* most alternatives */
#define FV_ANSWERS_MOST 128

typedef struct fv_settings {
    const fv_server *server;
    fv_sampler_config sampler;
    int64_t seed;       /* -1: any */
    int64_t max_tokens; /* -1: until the context is full */
    int64_t answers;    /* of each prompt */
    int64_t logprobs;   /* alternatives; -1: none are wanted */
    bool logprobs_wanted;
    bool stream, include_usage, echo, ignore_end, use_cache, return_tokens;
    int64_t deadline_ms; /* of each token of an answer; 0: none */
    char *stops[FV_ANSWER_STOPS];
    size_t stop_count;
    fv_bias *bias; /* [bias_count] */
    size_t bias_count;
    fv_policy policy;
    char policy_text[FV_POLICY_TEXT_BYTES];
    float quality; /* 0: as the policy says */
    int64_t reads; /* passages of each token that are told; 0: none */
    bool reads_layers;
} fv_settings;

/** As a request that says nothing. FV_OK, FV_ERROR_CORRUPT (what the file recommends). */
fv_status fv_settings_default(fv_settings *settings, const fv_server *server, fv_message *message);
void fv_settings_free(fv_settings *settings);

/** After the fields: what they come to together; `settings` then has shares of the budget and a seed. */
fv_status fv_settings_finish(fv_settings *settings, fv_message *message);

/* Fields whose target is an fv_settings. */
extern const fv_field_table fv_sampling_fields; /* everywhere */
extern const fv_field_table fv_openai_fields;   /* OpenAI's, of both of its endpoints */
extern const fv_field_table fv_llama_fields;    /* llama-server's own; it takes them at OpenAI's endpoints, too */
extern const fv_field_table fv_ollama_options;  /* members of "options" */

fv_status fv_settings_stops(void *settings, const json_t *value, fv_message *message);

#endif
