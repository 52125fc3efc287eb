/* cmd_inspect.c - `fovea inspect`: what a GGUF file holds, what of it this version cannot run, and the memory that a
 * context takes. Opening the file checks every offset and size; a file that cannot be run is shown all the same. */
#include "fovea/conversation.h"
#include "fovea/gguf.h"
#include "input.h"
#include "inspect_check.h"
#include "inspect_session.h"
#include "json_out.h"
#include "model_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_ARRAY 8  /* elements of an array that are shown */
#define LONGEST_TEXT 120 /* bytes of a text that are shown; JSON has all */
#define FAULTS_SHOWN 32  /* of a damaged file */
#define TYPE_SLOTS 64    /* different tensor types that are counted */

typedef struct inspect_options {
    cli_model_options model;
    bool json, check;
} inspect_options;

#define CLI_TARGET inspect_options
static const cli_option inspect_flags[] = {
    CLI_FLAG(INTEGER, "-c --ctx-size", model.context, .env = "LLAMA_ARG_CTX_SIZE", .high = CLI_CONTEXT_MAX,
             .note = "the training context", .help = "tokens of the context whose memory is shown"),
    CLI_FLAG(SWITCH, "--check", check,
             .help = "read all tensors too: numbers that are not finite, or nothing but zeros"),
    CLI_FLAG(SWITCH, "--json", json, .help = "one JSON document"),
};

/* What is known about one file. `llm` is NULL, and `reason` says why, if it can't be run. */
typedef struct inspection {
    fv_gguf *gguf;
    fv_llm *llm;
    fv_message reason, template_fault; /* the second: why the chat template can't be run; empty: it can */
    bool has_memory;
    fv_session_memory memory;
    uint32_t batch, threads;
    uint64_t repacked_bytes;  /* what a run would replace */
    fv_session_config config; /* with the context that is meant */
    json_t *faults;           /* texts: the first FAULTS_SHOWN */
    size_t fault_count;
    cli_tensor_check check; /* faults: NULL: not asked for */
} inspection;

/* ---- values of metadata ---- */

/* Of an array one element. JSON has no infinity and no NaN. */
static json_t *number_value(const fv_gguf_entry *entry, uint64_t index) {
    fv_gguf_number number;
    if (!fv_gguf_number_at(entry, index, &number)) return json_null();
    if (number.kind == FV_GGUF_FLOAT64) return cli_real(number.real);
    return number.kind == FV_GGUF_BOOL ? json_boolean(number.whole) : json_integer((json_int_t)number.whole);
}

/* The first elements of an array. */
static json_t *array_value(const fv_gguf_entry *entry) {
    json_t *array = json_array();
    size_t cursor = 0;
    fv_gguf_text text;
    for (uint64_t i = 0; i < entry->count && i < LONGEST_ARRAY; i++) {
        if (entry->element_type != FV_GGUF_STRING)
            cli_json_append(array, number_value(entry, i));
        else if (fv_gguf_array_next(entry, &cursor, &text))
            cli_json_append(array, cli_json_string(text.bytes, text.length));
    }
    return array;
}

static json_t *entry_value(const fv_gguf_entry *entry) {
    if (entry->type == FV_GGUF_ARRAY) return array_value(entry);
    if (entry->type != FV_GGUF_STRING) return number_value(entry, 0);
    /* u64 length, then the bytes: fv_gguf_open() checked both */
    return entry->data_bytes < 8 ? json_null() : cli_json_string((const char *)entry->data + 8, entry->data_bytes - 8);
}

/* ---- types of tensors ---- */

static const char *tensor_type_name(uint32_t type, char *buffer, size_t bytes) {
    const char *name = fv_gguf_type_name(type);
    if (name) return name;
    snprintf(buffer, bytes, "type %" PRIu32, type);
    return buffer;
}

/* ---- as text ---- */

/* A name out of the file, in `buffer` until its next use: nothing in it commands a terminal. */
static const char *name_of(fv_gguf_text text, fv_text *buffer) {
    buffer->length = 0;
    return fv_utf8_printable(text.bytes, text.length, "", buffer) == FV_OK ? buffer->bytes : "?";
}

/* A value on one line: control characters are escaped, long tails left out. */
static void print_value(const fv_gguf_entry *entry, json_t *value, fv_text *buffer) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(7));
    size_t length = text ? strlen(text) : 0;
    size_t shown = length > LONGEST_TEXT ? fv_utf8_complete(text, LONGEST_TEXT) : length;
    cli_print("%s%s", name_of((fv_gguf_text){text ? text : "?", text ? shown : 1}, buffer),
              shown < length ? "..." : "");
    if (entry->type == FV_GGUF_ARRAY && entry->count > LONGEST_ARRAY)
        cli_print(" first %d of %" PRIu64, LONGEST_ARRAY, entry->count);
    free(text);
}

static void print_metadata(const fv_gguf *gguf) {
    fv_text shown = {0};
    cli_print("\nmetadata: %zu entries\n", fv_gguf_entries(gguf));
    for (size_t i = 0; i < fv_gguf_entries(gguf); i++) {
        const fv_gguf_entry *entry = fv_gguf_entry_at(gguf, i);
        json_t *value = entry_value(entry);
        cli_print("  %-44s %s%s ", name_of(entry->key, &shown), fv_gguf_value_type_name(entry->element_type),
                  entry->type == FV_GGUF_ARRAY ? "[]" : "");
        print_value(entry, value, &shown);
        cli_print("\n");
        json_decref(value);
    }
    fv_text_free(&shown);
}

static void print_tensors(const fv_gguf *gguf) {
    fv_text name = {0};
    cli_print("\ntensors: %zu\n  %-44s %-8s %-24s %14s %14s\n", fv_gguf_tensors(gguf), "name", "type", "shape", "bytes",
              "offset");
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        char shape[96], unknown[24];
        size_t used = 0;
        for (uint32_t d = 0; d < tensor->dimension_count && d < 4; d++)
            used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRIu64, d ? " x " : "",
                                     tensor->dimensions[d]);
        cli_print("  %-44s %-8s %-24s %14" PRIu64 " %14" PRIu64 "%s\n", name_of(tensor->name, &name),
                  tensor_type_name(tensor->ggml_type, unknown, sizeof unknown), shape, tensor->bytes,
                  tensor->file_offset, fv_gguf_type_is_supported(tensor->ggml_type) ? "" : "  not supported");
    }
    fv_text_free(&name);
}

static void print_types(const fv_gguf *gguf) {
    fv_gguf_type_use types[TYPE_SLOTS];
    size_t count = fv_gguf_type_uses(gguf, types, TYPE_SLOTS);
    cli_print("\ntypes:\n");
    for (size_t i = 0; i < count; i++) {
        char unknown[24];
        cli_print("  %-8s %6" PRIu64 " tensors %14" PRIu64 " bytes%s\n",
                  tensor_type_name(types[i].ggml_type, unknown, sizeof unknown), types[i].tensors, types[i].bytes,
                  fv_gguf_type_is_supported(types[i].ggml_type) ? "" : "  not supported");
    }
}

/* A part of the cache; one that was not asked for has no line. */
static void print_part(const char *name, uint64_t bytes) {
    if (bytes) cli_print("    %-10s %6.1f MiB\n", name, (double)bytes / (1024.0 * 1024.0));
}

/* Of the context that was asked about. */
static uint32_t fitting_tokens(const inspection *seen, fv_machine_limits *limits) {
    fv_machine_limits_read(limits);
    return fv_session_memory_tokens(&seen->memory, seen->config.context_tokens, seen->repacked_bytes, limits);
}

static void print_memory(const inspection *seen) {
    const double mib = 1024.0 * 1024.0;
    if (!seen->llm) {
        cli_print("\nthis version can't run the file: %s\n", seen->reason.text);
        return;
    }
    if (!seen->has_memory) {
        cli_print("\nmemory: not known: %s\n", seen->reason.text);
        return;
    }
    double cache = (double)seen->memory.cache_bytes, scratch = (double)seen->memory.scratch_bytes;
    double weights = (double)fv_llm_weight_bytes(seen->llm);
    cli_print("\nmemory for a context of %" PRIu32 " tokens (K %s, V %s, batch %" PRIu32 ", %" PRIu32 " threads):\n",
              seen->config.context_tokens, fv_element_name(seen->config.key_type),
              fv_element_name(seen->config.value_type), seen->batch, seen->threads);
    cli_print("  weights  %10.1f MiB, mapped from the file; %.1f MiB are replaced by private pages when repacked\n",
              weights / mib, (double)seen->repacked_bytes / mib);
    cli_print("  cache    %10.1f MiB, %" PRIu64 " bytes per token\n", cache / mib, seen->memory.token_bytes);
    print_part("keys", seen->memory.key_bytes);
    print_part("values", seen->memory.value_bytes);
    print_part("scales", seen->memory.scale_bytes);
    print_part("landmarks", seen->memory.landmark_bytes);
    cli_print("  scratch  %10.1f MiB\n", scratch / mib);
    cli_print("  together %10.1f MiB\n", (weights + cache + scratch) / mib);
    fv_machine_limits limits;
    uint32_t fitting = fitting_tokens(seen, &limits);
    if (limits.memory_bytes)
        cli_print("  usable   %10.1f MiB and %.1f MiB of swap by this process (%s): %" PRIu32 " of the tokens fit\n",
                  (double)limits.memory_bytes / mib, (double)limits.swap_bytes / mib,
                  fv_machine_limit_name(limits.memory_by), fitting);
}

static void print_faults(const inspection *seen) {
    if (seen->fault_count) cli_print("\ndamaged: %zu faults\n", seen->fault_count);
    for (size_t i = 0; i < json_array_size(seen->faults); i++)
        cli_print("  %s\n", json_string_value(json_array_get(seen->faults, i)));
}

static int print_text(const inspection *seen) {
    const fv_gguf *gguf = seen->gguf;
    fv_gguf_text architecture = {"(none)", 6};
    fv_gguf_string(gguf, "general.architecture", &architecture);
    cli_print("%s: GGUF version %" PRIu32 ", %" PRIu32 " file%s, %" PRIu64 " bytes, alignment %" PRIu64 "\n",
              fv_gguf_path(gguf), fv_gguf_version(gguf), fv_gguf_files(gguf), fv_gguf_files(gguf) == 1 ? "" : "s",
              fv_gguf_file_bytes(gguf), fv_gguf_alignment(gguf));
    fv_text name = {0};
    cli_print("architecture: %s, %s\n", name_of(architecture, &name),
              seen->llm ? "supported" : "not runnable by this version (see below)");
    fv_text_free(&name);
    print_metadata(gguf);
    print_tensors(gguf);
    print_types(gguf);
    print_faults(seen);
    if (seen->check.faults) cli_check_print(gguf, &seen->check);
    print_memory(seen);
    return cli_flush() ? CLI_DONE : CLI_FAILED;
}

/* ---- as JSON ---- */

static json_t *metadata_json(const fv_gguf *gguf) {
    json_t *array = json_array();
    for (size_t i = 0; i < fv_gguf_entries(gguf); i++) {
        const fv_gguf_entry *entry = fv_gguf_entry_at(gguf, i);
        json_t *object = json_object();
        CLI_ADD(object, {"key", cli_json_string(entry->key.bytes, entry->key.length)},
                {"type", cli_text(fv_gguf_value_type_name(entry->type))});
        if (entry->type == FV_GGUF_ARRAY) {
            CLI_ADD(object, {"element_type", cli_text(fv_gguf_value_type_name(entry->element_type))},
                    {"count", cli_count(entry->count)});
        }
        cli_json_set(object, "value", entry_value(entry)); /* of a long array the first elements */
        cli_json_append(array, object);
    }
    return array;
}

static json_t *tensors_json(const fv_gguf *gguf) {
    json_t *array = json_array();
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        json_t *object = json_object(), *shape = json_array();
        char unknown[24];
        for (uint32_t d = 0; d < tensor->dimension_count && d < 4; d++)
            cli_json_append(shape, json_integer((json_int_t)tensor->dimensions[d]));
        CLI_ADD(object, {"name", cli_json_string(tensor->name.bytes, tensor->name.length)},
                {"type", cli_text(tensor_type_name(tensor->ggml_type, unknown, sizeof unknown))},
                {"type_number", cli_count(tensor->ggml_type)}, {"shape", shape}, {"bytes", cli_count(tensor->bytes)},
                {"offset", cli_count(tensor->file_offset)}, {"file", cli_count(tensor->file)},
                {"supported", json_boolean(fv_gguf_type_is_supported(tensor->ggml_type))});
        cli_json_append(array, object);
    }
    return array;
}

static json_t *types_json(const fv_gguf *gguf) {
    fv_gguf_type_use types[TYPE_SLOTS];
    size_t count = fv_gguf_type_uses(gguf, types, TYPE_SLOTS);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object = json_object();
        char unknown[24];
        CLI_ADD(object, {"type", cli_text(tensor_type_name(types[i].ggml_type, unknown, sizeof unknown))},
                {"tensors", cli_count(types[i].tensors)}, {"bytes", cli_count(types[i].bytes)},
                {"supported", json_boolean(fv_gguf_type_is_supported(types[i].ggml_type))});
        cli_json_append(array, object);
    }
    return array;
}

static json_t *memory_json(const inspection *seen) {
    if (!seen->has_memory) return json_null();
    json_t *object = json_object();
    CLI_ADD(
        object, {"context_tokens", cli_count(seen->config.context_tokens)}, {"batch_tokens", cli_count(seen->batch)},
        {"threads", cli_count(seen->threads)}, {"key_type", cli_text(fv_element_name(seen->config.key_type))},
        {"value_type", cli_text(fv_element_name(seen->config.value_type))},
        {"weight_bytes", cli_count(fv_llm_weight_bytes(seen->llm))},
        {"repacked_bytes", cli_count(seen->repacked_bytes)}, {"cache_bytes", cli_count(seen->memory.cache_bytes)},
        {"key_bytes", cli_count(seen->memory.key_bytes)}, {"value_bytes", cli_count(seen->memory.value_bytes)},
        {"scale_bytes", cli_count(seen->memory.scale_bytes)},
        {"landmark_bytes", cli_count(seen->memory.landmark_bytes)},
        {"scratch_bytes", cli_count(seen->memory.scratch_bytes)}, {"token_bytes", cli_count(seen->memory.token_bytes)});
    fv_machine_limits limits;
    cli_json_set(object, "fitting_tokens", cli_count(fitting_tokens(seen, &limits)));
    CLI_ADD(object, {"usable_bytes", cli_count(limits.memory_bytes)},
            {"usable_by", cli_text(fv_machine_limit_name(limits.memory_by))});
    return object;
}

static int print_json(const inspection *seen) {
    const fv_gguf *gguf = seen->gguf;
    json_t *document = json_object();
    fv_gguf_text architecture;
    uint64_t values = 0;
    for (size_t i = 0; i < fv_gguf_tensors(gguf); i++) values += fv_gguf_tensor_values(fv_gguf_tensor_at(gguf, i));
    CLI_ADD(document, {"path", cli_text(fv_gguf_path(gguf))}, {"version", cli_count(fv_gguf_version(gguf))},
            {"files", cli_count(fv_gguf_files(gguf))}, {"file_bytes", cli_count(fv_gguf_file_bytes(gguf))},
            {"alignment", cli_count(fv_gguf_alignment(gguf))});
    bool named = fv_gguf_string(gguf, "general.architecture", &architecture);
    CLI_ADD(document, {"architecture", named ? cli_json_string(architecture.bytes, architecture.length) : json_null()},
            {"supported", json_boolean(seen->llm != NULL)},
            {"unsupported", seen->llm ? json_null() : cli_text(seen->reason.text)}, {"parameters", cli_count(values)},
            {"metadata", metadata_json(gguf)}, {"tensors", tensors_json(gguf)}, {"types", types_json(gguf)},
            {"faults", json_incref(seen->faults)}, {"fault_count", cli_count(seen->fault_count)},
            {"check", seen->check.faults ? json_incref(seen->check.faults) : json_null()},
            {"template_fault", seen->template_fault.text[0] ? cli_text(seen->template_fault.text) : json_null()},
            {"memory", memory_json(seen)});
    return cli_json_print(document);
}

/* ---- the verb ---- */

/* A context that can't be planned (too large for the machine) is part of the answer, not an error. */
static void plan_memory(inspection *seen, const cli_model_options *options) {
    uint32_t trained = fv_llm_config(seen->llm)->cache.max_tokens;
    fv_session_config *config = &seen->config;
    *config = cli_session_config(options);
    config->context_tokens = options->context > 0 ? (uint32_t)options->context : trained;
    seen->repacked_bytes = fv_engine_repacks(seen->llm, cli_repack_of(options)) ? fv_llm_packable_bytes(seen->llm) : 0;
    seen->batch = config->batch_tokens < config->context_tokens ? config->batch_tokens : config->context_tokens;
    fv_status status = fv_session_memory_plan(seen->llm, config, seen->threads, &seen->memory, &seen->reason);
    seen->has_memory = status == FV_OK;
    if (seen->has_memory) (void)cli_outcome(status, &seen->reason);
}

static void keep_fault(void *context, const char *fault) {
    inspection *seen = context;
    if (seen->fault_count++ < FAULTS_SHOWN) cli_json_append(seen->faults, cli_json_string(fault, strlen(fault)));
}

static void try_template(inspection *seen) {
    fv_conversation *conversation = NULL;
    fv_gguf_text text;
    if (!fv_gguf_string(seen->gguf, "tokenizer.chat_template", &text)) return;
    fv_status status = fv_conversation_open_template(&conversation, seen->gguf, NULL, &seen->template_fault);
    if (status != FV_OK) cli_note("its chat template can't be run: %s", seen->template_fault.text);
    fv_conversation_close(conversation);
}

/* What a damaged file holds is shown, and then counts as a failure. */
static int inspect(const inspect_options *options) {
    inspection seen = {.threads = options->model.threads > 0 ? (uint32_t)options->model.threads : 1,
                       .faults = json_array()};
    fv_status status = fv_gguf_open_damaged(&seen.gguf, options->model.model, keep_fault, &seen, &seen.reason);
    if (status != FV_OK) {
        json_decref(seen.faults);
        return cli_outcome(status, &seen.reason);
    }
    status = fv_llm_open_allowing(&seen.llm, options->model.model, options->model.allowed_keys.items,
                                  options->model.allowed_keys.count, &seen.reason);
    cli_advise(&seen.reason);
    if (status == FV_OK) cli_warn_of_file(fv_llm_tokenizer(seen.llm));
    if (status == FV_OK) plan_memory(&seen, &options->model);
    try_template(&seen);
    int result = options->check ? cli_check_tensors(seen.gguf, &seen.check) : CLI_GO_ON;
    if (result == CLI_GO_ON) result = options->json ? print_json(&seen) : print_text(&seen);
    if (result == CLI_DONE && seen.fault_count) result = cli_fail("%s", seen.reason.text);
    if (result == CLI_DONE && seen.check.bad)
        result = cli_fail("%s: %zu of %zu tensors hold numbers that are not finite: the file is damaged or badly "
                          "converted",
                          options->model.model, seen.check.bad, seen.check.checked);
    fv_llm_close(seen.llm);
    fv_gguf_close(seen.gguf);
    json_decref(seen.faults);
    json_decref(seen.check.faults);
    return result;
}

int cmd_inspect(int argc, char **argv) {
    inspect_options options = {.model = cli_model_options_default()};
    options.model.context = 0;
    const char *operand = NULL;
    const cli_option_group groups[] = {
        CLI_GROUP("inspect", inspect_flags, &options),
        CLI_COUNTED("model", cli_model_flags, &options.model),
        CLI_COUNTED("weights", cli_weight_flags, &options.model),
        CLI_COUNTED("cache", cli_cache_flags, &options.model),
    };
    const cli_syntax syntax = {
        "inspect", "FILE [-c N] [--check] [--json]",
        "Shows what is in a GGUF file: metadata, tensors, types, what this version can't run, and\n"
        "the memory that a context of N tokens takes. Every offset and size is checked.",
        CLI_GROUPS(groups), &operand};
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON && operand) options.model.model = operand;
    if (result == CLI_GO_ON) result = cli_need_model("inspect", options.model.model);
    if (result == CLI_GO_ON && fv_session_file_is(options.model.model))
        return cli_inspect_session(options.model.model, options.json);
    return result == CLI_GO_ON ? inspect(&options) : result;
}
