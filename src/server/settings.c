/* settings.c - values with a shape of their own: stop texts, biases, the policy. */
#include "settings.h"
#include "fovea/machine.h"
#include "passages.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(FIELD) .offset = offsetof(fv_settings, FIELD)

enum { READS_PASSAGES = 8 /* of a token, unless the request says something else */ };

fv_status fv_settings_default(fv_settings *settings, const fv_server *server, fv_message *message) {
    uint32_t taken = 0;
    *settings =
        (fv_settings){.server = server, .seed = -1, .max_tokens = -1, .answers = 1, .logprobs = -1, .use_cache = true};
    fv_sampler_config_default(&settings->sampler);
    fv_status status = fv_sampler_config_recommended(fv_llm_gguf(server->llm), 0, &settings->sampler, &taken, message);
    return status == FV_OK ? fv_policy_parse(&settings->policy, server->attention, message) : status;
}

void fv_settings_free(fv_settings *settings) {
    for (size_t i = 0; i < settings->stop_count; i++) free(settings->stops[i]);
    free(settings->bias);
    settings->stop_count = settings->bias_count = 0;
    settings->bias = NULL;
}

/* ---- policy ---- */

static fv_status read_attention(void *target, const json_t *value, fv_message *message) {
    if (!json_is_string(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'fovea.attention' must be a text: a policy");
    fv_message why = {""};
    fv_status status = fv_policy_parse(&((fv_settings *)target)->policy, json_string_value(value), &why);
    if (status != FV_OK) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'fovea.attention': %.400s", why.text);
    return FV_OK;
}

/* true, or how much of it. */
static fv_status read_reads(void *target, const json_t *value, fv_message *message) {
    static const fv_field list[] = {
        {.name = "passages", .kind = FV_FIELD_INTEGER, AT(reads), .low = 1, .high = FV_PASSAGES_MOST},
        {.name = "layers", .kind = FV_FIELD_SWITCH, AT(reads_layers)},
    };
    const fv_field_table table = {list, sizeof list / sizeof *list};
    fv_settings *settings = target;
    if (!json_is_boolean(value) && !json_is_object(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'fovea.reads' must be true, false or an object");
    settings->reads = json_is_false(value) ? 0 : READS_PASSAGES;
    settings->reads_layers = false;
    return json_is_object(value) ? fv_fields_read(&table, 1, value, "fovea.reads.", target, message) : FV_OK;
}

static const fv_field policy_list[] = {
    {.name = "attention", .kind = FV_FIELD_READ, .read = read_attention},
    {.name = "quality", .kind = FV_FIELD_F32, .offset = offsetof(fv_settings, quality), .low = 1e-6, .high = 1e6},
    {.name = "deadline_ms",
     .kind = FV_FIELD_INTEGER,
     .offset = offsetof(fv_settings, deadline_ms),
     .low = 1,
     .high = 1e9},
    {.name = "reads", .kind = FV_FIELD_READ, .read = read_reads},
};

static fv_status read_fovea(void *target, const json_t *value, fv_message *message) {
    const fv_field_table table = {policy_list, sizeof policy_list / sizeof *policy_list};
    if (!json_is_object(value)) return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'fovea' must be an object");
    return fv_fields_read(&table, 1, value, "fovea.", target, message);
}

static fv_status finish_policy(fv_settings *settings, fv_message *message) {
    fv_policy *policy = &settings->policy;
    bool attached = false;
    bool chooses = fv_policy_is_dynamic(policy);
    if (settings->quality > 0 && !chooses && policy->selector != FV_SELECTOR_DENSE) /* dense keeps any promise */
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'fovea.quality': needs an attention that chooses what it reads, or dense");
    if (settings->quality > 0 && chooses) {
        policy->certificate = 1;
        policy->quality = settings->quality;
    }
    if (settings->deadline_ms > 0 && policy->quality > 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "field 'fovea.deadline_ms': a policy that promises a quality has no deadline");
    if (fv_policy_check(policy) != FV_OK) {
        fv_policy_fault fault = fv_policy_find_fault(policy);
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'fovea': %s %s", fv_policy_fault_field(fault),
                              fv_policy_fault_text(fault));
    }
    fv_status status = fv_policy_format(policy, settings->policy_text, sizeof settings->policy_text);
    if (status != FV_OK) return fv_message_set(message, status, "field 'fovea': the policy has no text");
    return fv_engine_tune_attach(settings->server->engine, policy, &attached, message);
}

/* ---- texts and biases ---- */

static fv_status add_stop(fv_settings *settings, const json_t *value, fv_message *message) {
    if (!json_is_string(value) || json_string_length(value) == 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'stop' must be a text or a list of texts, none empty");
    if (settings->stop_count == FV_ANSWER_STOPS)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'stop' has more than %d texts", FV_ANSWER_STOPS);
    char *copy = strdup(json_string_value(value));
    if (!copy) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for stop texts");
    settings->stops[settings->stop_count++] = copy;
    return FV_OK;
}

fv_status fv_settings_stops(void *target, const json_t *value, fv_message *message) {
    fv_settings *settings = target;
    fv_status status = FV_OK;
    if (!json_is_array(value)) return add_stop(settings, value, message);
    for (size_t i = 0; i < json_array_size(value) && status == FV_OK; i++)
        status = add_stop(settings, json_array_get(value, i), message);
    return status;
}

static fv_status add_bias(fv_settings *settings, double token, const json_t *value, fv_message *message) {
    double tokens = fv_llm_config(settings->server->llm)->vocabulary;
    double bias = json_is_number(value) ? json_number_value(value) : json_is_false(value) ? -INFINITY : NAN;
    if (!(token >= 0 && token < tokens) || token - floor(token) > 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'logit_bias': a token is an id from 0 to %.0f",
                              tokens - 1);
    if (isnan(bias) || bias > 1e6)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'logit_bias': a bias is a number, or false for never");
    settings->bias[settings->bias_count++] = (fv_bias){(int32_t)token, (float)bias};
    return FV_OK;
}

static fv_status reserve_bias(fv_settings *settings, size_t count, fv_message *message) {
    free(settings->bias);
    settings->bias_count = 0;
    settings->bias = calloc(count > 0 ? count : 1, sizeof *settings->bias);
    return settings->bias ? FV_OK : fv_message_set(message, FV_ERROR_MEMORY, "no memory for biases");
}

/* OpenAI's {"ID": number}; llama-server's [[ID, number or false], ...]. */
static fv_status read_bias(void *target, const json_t *value, fv_message *message) {
    fv_settings *settings = target;
    size_t count = json_is_array(value) ? json_array_size(value) : json_object_size(value);
    const char *name;
    json_t *one, *members = (json_t *)(uintptr_t)value;
    fv_status status = reserve_bias(settings, count, message);
    if (status == FV_OK && !json_is_array(value) && !json_is_object(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'logit_bias' must be an object: {\"ID\": number}");
    for (size_t i = 0; json_is_array(value) && i < count && status == FV_OK; i++) {
        const json_t *pair = json_array_get(value, i), *id = json_array_get(pair, 0);
        status = add_bias(settings, json_is_number(id) ? json_number_value(id) : -1, json_array_get(pair, 1), message);
    }
    json_object_foreach(members, name, one) {
        char *end = NULL;
        double token = strtod(name, &end);
        if (status == FV_OK) status = add_bias(settings, end == name || *end ? -1 : token, one, message);
    }
    return status;
}

static fv_status read_stream_options(void *target, const json_t *value, fv_message *message) {
    static const fv_field list[] = {
        {.name = "include_usage", .kind = FV_FIELD_SWITCH, .offset = offsetof(fv_settings, include_usage)},
        {.name = "include_obfuscation", .kind = FV_FIELD_ONLY, .only = "[false]"},
    };
    const fv_field_table table = {list, sizeof list / sizeof *list};
    if (!json_is_object(value))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'stream_options' must be an object");
    return fv_fields_read(&table, 1, value, "stream_options.", target, message);
}

/* A context that was asked for is there, or it is refused: nothing is cut without a word. */
static fv_status read_context(void *target, const json_t *value, fv_message *message) {
    const fv_server *server = ((fv_settings *)target)->server;
    if (json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= server->slot_tokens)
        return FV_OK;
    return fv_message_set(message, FV_ERROR_ARGUMENT,
                          "field 'options.num_ctx' must be an integer from 0 to %u, the context of a slot",
                          server->slot_tokens);
}

/* ---- all together ---- */

fv_status fv_settings_finish(fv_settings *settings, fv_message *message) {
    if (settings->logprobs_wanted && settings->logprobs < 0) settings->logprobs = 0;
    settings->sampler.seed = settings->seed >= 0 ? (uint32_t)settings->seed : fv_machine_seed();
    settings->sampler.vocabulary = fv_llm_config(settings->server->llm)->vocabulary;
    settings->sampler.context_tokens = settings->server->slot_tokens;
    return finish_policy(settings, message);
}

/* ---- tables ---- */

#define SAMPLING(FIELD) .offset = offsetof(fv_settings, sampler.FIELD)
#define LIST(NAME, LISTED) const fv_field_table NAME = {LISTED, sizeof LISTED / sizeof *LISTED}

static const fv_field sampling_list[] = {
    {.name = "temperature", .kind = FV_FIELD_F32, SAMPLING(temperature), .high = 100},
    {.name = "top_p", .kind = FV_FIELD_F32, SAMPLING(top_p), .high = 1},
    {.name = "top_k", .kind = FV_FIELD_I32, SAMPLING(top_k), .low = -1, .high = 2147483647},
    {.name = "min_p", .kind = FV_FIELD_F32, SAMPLING(min_p), .high = 1},
    {.name = "presence_penalty", .kind = FV_FIELD_F32, SAMPLING(presence_penalty), .low = -2, .high = 2},
    {.name = "frequency_penalty", .kind = FV_FIELD_F32, SAMPLING(frequency_penalty), .low = -2, .high = 2},
    {.name = "repeat_penalty", .kind = FV_FIELD_F32, SAMPLING(repeat_penalty), .low = 0.01, .high = 100},
    {.name = "repeat_last_n", .kind = FV_FIELD_I32, SAMPLING(repeat_last_tokens), .low = -1, .high = 2147483647},
    {.name = "seed", .kind = FV_FIELD_INTEGER, AT(seed), .low = -1, .high = 4294967295.0},
    {.name = "stop", .kind = FV_FIELD_READ, .read = fv_settings_stops},
};
LIST(fv_sampling_fields, sampling_list);

static const fv_field openai_list[] = {
    {.name = "model", .kind = FV_FIELD_LABEL},
    {.name = "user", .kind = FV_FIELD_LABEL},
    {.name = "max_tokens", .kind = FV_FIELD_INTEGER, AT(max_tokens), .low = -1, .high = 2147483647},
    {.name = "n", .kind = FV_FIELD_INTEGER, AT(answers), .low = 1, .high = FV_ANSWERS_MOST},
    {.name = "stream", .kind = FV_FIELD_SWITCH, AT(stream)},
    {.name = "stream_options", .kind = FV_FIELD_READ, .read = read_stream_options},
    {.name = "logit_bias", .kind = FV_FIELD_READ, .read = read_bias},
    {.name = "fovea", .kind = FV_FIELD_READ, .read = read_fovea},
};
LIST(fv_openai_fields, openai_list);

/* What asks for samplers and features that are not there is taken where it asks for nothing. */
static const fv_field llama_list[] = {
    {.name = "cache_prompt", .kind = FV_FIELD_SWITCH, AT(use_cache)},
    {.name = "ignore_eos", .kind = FV_FIELD_SWITCH, AT(ignore_end)},
    {.name = "return_tokens", .kind = FV_FIELD_SWITCH, AT(return_tokens)},
    {.name = "id_slot", .kind = FV_FIELD_ONLY, .only = "[-1]"},
    {.name = "n_keep", .kind = FV_FIELD_ONLY, .only = "[0]"},
    {.name = "min_keep", .kind = FV_FIELD_ONLY, .only = "[0]"},
    {.name = "n_indent", .kind = FV_FIELD_ONLY, .only = "[0]"},
    {.name = "t_max_predict_ms", .kind = FV_FIELD_ONLY, .only = "[0,-1]"},
    {.name = "typical_p", .kind = FV_FIELD_ONLY, .only = "[1,1.0]"},
    {.name = "dynatemp_range", .kind = FV_FIELD_ONLY, .only = "[0,0.0]"},
    {.name = "xtc_probability", .kind = FV_FIELD_ONLY, .only = "[0,0.0]"},
    {.name = "dry_multiplier", .kind = FV_FIELD_ONLY, .only = "[0,0.0]"},
    {.name = "mirostat", .kind = FV_FIELD_ONLY, .only = "[0]"},
    {.name = "grammar", .kind = FV_FIELD_ONLY, .only = "[\"\"]"},
    {.name = "json_schema", .kind = FV_FIELD_ONLY, .only = "[{}]"},
    {.name = "samplers", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "timings_per_token", .kind = FV_FIELD_ONLY, .only = "[false]"},
    {.name = "return_progress", .kind = FV_FIELD_ONLY, .only = "[false]"},
    {.name = "post_sampling_probs", .kind = FV_FIELD_ONLY, .only = "[false]"},
    {.name = "response_fields", .kind = FV_FIELD_ONLY, .only = "[[]]"},
    {.name = "lora", .kind = FV_FIELD_ONLY, .only = "[[]]"},
};
LIST(fv_llama_fields, llama_list);

static const fv_field ollama_list[] = {
    {.name = "num_predict", .kind = FV_FIELD_INTEGER, AT(max_tokens), .low = -2, .high = 2147483647},
    {.name = "num_ctx", .kind = FV_FIELD_READ, .read = read_context},
    {.name = "num_thread", .kind = FV_FIELD_ONLY, .only = "[0]"},
    {.name = "num_keep", .kind = FV_FIELD_ONLY, .only = "[0]"},
    {.name = "mirostat", .kind = FV_FIELD_ONLY, .only = "[0]"},
    {.name = "typical_p", .kind = FV_FIELD_ONLY, .only = "[1,1.0]"},
};
LIST(fv_ollama_options, ollama_list);
