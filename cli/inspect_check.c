/* inspect_check.c - `fovea inspect --check`: all tensors are read, and each that holds a number that is not finite, or
 * nothing but zeros, is named. */
#include "inspect_check.h"
#include "cli.h"
#include "fovea/tokenizer.h"
#include "interrupt.h"
#include "progress.h"
#include <inttypes.h>
#include <string.h>

/* A fault of a tensor as JSON; NULL: there is none, or a bias may well be zero. */
static json_t *fault_of(const fv_gguf_tensor *tensor, const fv_gguf_check *check) {
    if (check->bad_blocks == 0 && (!check->zero || tensor->dimension_count < 2)) return NULL;
    json_t *fault = json_object();
    CLI_ADD(fault, {"name", cli_json_string(tensor->name.bytes, tensor->name.length)},
            {"fault", cli_text(check->zero ? "zero" : "not finite")}, {"bad_blocks", cli_count(check->bad_blocks)},
            {"blocks", cli_count(check->blocks)}, {"block_values", cli_count(check->block_values)},
            {"first", cli_count(check->first_bad)});
    return fault;
}

int cli_check_tensors(const fv_gguf *gguf, cli_tensor_check *all) {
    cli_progress progress;
    *all = (cli_tensor_check){.faults = json_array()};
    cli_progress_start(&progress, "checking", "tensors");
    for (size_t i = 0; i < fv_gguf_tensors(gguf) && !cli_interrupted(); i++) {
        const fv_gguf_tensor *tensor = fv_gguf_tensor_at(gguf, i);
        fv_gguf_check check;
        bool known = fv_gguf_tensor_check(tensor, &check);
        json_t *fault = known ? fault_of(tensor, &check) : NULL;
        all->checked += known;
        all->bad += known && check.bad_blocks > 0;
        if (fault) cli_json_append(all->faults, fault);
        cli_progress_show(&progress, i + 1, fv_gguf_tensors(gguf));
    }
    cli_progress_end(&progress);
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_GO_ON;
}

/* A name of the file, fit for a terminal; lives as long as `text`. */
static const char *printable_of(const char *name, fv_text *text) {
    return fv_utf8_printable(name, strlen(name), "", text) == FV_OK && text->bytes ? text->bytes : "?";
}

static const char *text_of(const json_t *fault, const char *key) {
    return json_string_value(json_object_get(fault, key));
}

static int64_t number_of(const json_t *fault, const char *key) {
    return json_integer_value(json_object_get(fault, key));
}

void cli_check_print(const fv_gguf *gguf, const cli_tensor_check *all) {
    cli_print("\nchecked: %zu of %zu tensors, %zu with numbers that are not finite\n", all->checked,
              fv_gguf_tensors(gguf), all->bad);
    for (size_t i = 0; i < json_array_size(all->faults); i++) {
        const json_t *fault = json_array_get(all->faults, i);
        fv_text printable = {0};
        const char *name = printable_of(text_of(fault, "name"), &printable);
        if (number_of(fault, "bad_blocks") == 0)
            cli_print("  %-44s nothing but zeros: was the file downloaded as a whole?\n", name);
        else
            cli_print("  %-44s %" PRId64 " of %" PRId64 " %s not finite, the first at %" PRId64 "\n", name,
                      number_of(fault, "bad_blocks"), number_of(fault, "blocks"),
                      number_of(fault, "block_values") > 1 ? "blocks" : "elements", number_of(fault, "first"));
        fv_text_free(&printable);
    }
}
