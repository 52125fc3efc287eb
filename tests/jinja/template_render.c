/* template_render.c - renders a template for tools/templates.py and template_test.py: a line of JSON in, a line out.
 *
 *   template_render FILE < LINES     {"now_s": N, "variables": {...}}  ->  {"text", "spans"} or {"error", "status"}
 *
 * The variables bos_token and eos_token are the template's own. */
#include "fovea/template.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *read_file(const char *path, fv_text *text) {
    char bytes[4096];
    FILE *file = fopen(path, "rb");
    if (!file) return json_string("the file can't be opened");
    for (size_t count; (count = fread(bytes, 1, sizeof bytes, file)) > 0;)
        if (fv_text_append(text, bytes, count) != FV_OK) abort();
    fclose(file);
    return NULL;
}

static json_t *render(const fv_template *made, json_t *line) {
    json_t *variables = json_object_get(line, "variables");
    char *bos = NULL, *eos = NULL, *json;
    fv_text text = {0};
    fv_text_spans spans = {0};
    fv_message message = {""};
    json_t *bos_json = json_object_get(variables, "bos_token"), *eos_json = json_object_get(variables, "eos_token");
    if (json_is_string(bos_json)) bos = strdup(json_string_value(bos_json));
    if (json_is_string(eos_json)) eos = strdup(json_string_value(eos_json));
    json_object_del(variables, "bos_token");
    json_object_del(variables, "eos_token");
    json = json_dumps(variables, JSON_COMPACT);
    fv_template_input input = {.struct_bytes = sizeof input,
                               .bos = bos,
                               .eos = eos,
                               .json = json,
                               .json_length = strlen(json),
                               .now_s = json_integer_value(json_object_get(line, "now_s"))};
    fv_status status = fv_template_render(made, &input, &text, &spans, &message);
    json_t *result, *places = json_array();
    for (size_t i = 0; i < spans.count; i++)
        json_array_append_new(places,
                              json_pack("[I, I]", (json_int_t)spans.spans[i].begin, (json_int_t)spans.spans[i].end));
    if (status == FV_OK)
        result =
            json_pack("{s:o, s:o}", "text", json_stringn(text.bytes ? text.bytes : "", text.length), "spans", places);
    else
        result = json_pack("{s:s, s:i}", "error", message.text, "status", (int)status);
    if (status != FV_OK) json_decref(places);
    fv_text_free(&text);
    fv_text_spans_free(&spans);
    free(json);
    free(bos);
    free(eos);
    return result;
}

static void print(json_t *result) {
    char *line = json_dumps(result, JSON_COMPACT | JSON_ENSURE_ASCII);
    puts(line ? line : "{\"error\":\"the text is no UTF-8\",\"status\":-6}");
    free(line);
    json_decref(result);
}

int main(int count, char **arguments) {
    fv_text file = {0};
    fv_template *made = NULL;
    fv_message message = {""};
    char *line = NULL;
    size_t room = 0;
    if (count != 2) return 2;
    json_t *fault = read_file(arguments[1], &file);
    fv_status status = fault ? FV_ERROR_FILE : fv_template_open(&made, file.bytes, file.length, &message);
    json_decref(fault);
    for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
        json_t *asked = json_loadb(line, (size_t)length, 0, NULL);
        if (status == FV_OK)
            print(render(made, asked));
        else
            print(json_pack("{s:s, s:i}", "error", message.text, "status", (int)status));
        json_decref(asked);
    }
    fv_template_close(made);
    fv_text_free(&file);
    free(line);
    return 0;
}
