/* template_fuzz.c - any text as a template, any JSON as what it is rendered with: refused with a message, or rendered
 * with the words of others apart. Input: the template up to a zero, then JSON; without a zero some JSON of ours. */
#include "fovea/template.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do \
        if (!(condition)) abort(); \
    while (0)

static void render(const fv_template *made, const char *json, size_t length) {
    fv_template_input input = {.struct_bytes = sizeof input,
                               .bos = "<s>",
                               .eos = "</s>",
                               .json = json,
                               .json_length = length,
                               .now_s = 1753574400,
                               .most_bytes = 4u << 20,
                               .most_steps = 20000};
    fv_text text = {0}, again = {0};
    fv_text_spans spans = {0};
    fv_message message = {""};
    fv_status status = fv_template_render(made, &input, &text, &spans, &message);
    REQUIRE((status == FV_OK) != (message.text[0] != 0));
    for (size_t i = 0, before = 0; i < spans.count; before = spans.spans[i++].end)
        REQUIRE(before <= spans.spans[i].begin && spans.spans[i].begin < spans.spans[i].end &&
                spans.spans[i].end <= text.length);
    REQUIRE(fv_template_render(made, &input, &again, NULL, NULL) == status && again.length == text.length);
    REQUIRE(text.length == 0 || memcmp(text.bytes, again.bytes, text.length) == 0);
    fv_text_free(&text);
    fv_text_free(&again);
    fv_text_spans_free(&spans);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char ours[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\" s \"},{\"role\":\"user\",\"content\":\"a "
        "<think>b</think> \\u00e9\"},{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{"
        "\"name\":\"f\",\"arguments\":{\"x\":[1,2.5,null,true]}}}]}],\"n\":3}";
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t length = zero ? (size_t)(zero - data) : size;
    fv_template *made = NULL;
    fv_message message = {""};
    fv_status status = fv_template_open(&made, (const char *)data, length, &message);
    REQUIRE((status == FV_OK) == (made != NULL) && (status == FV_OK) != (message.text[0] != 0));
    if (made && zero) render(made, (const char *)zero + 1, size - length - 1);
    if (made && !zero) render(made, ours, sizeof ours - 1);
    fv_template_close(made);
    return 0;
}
