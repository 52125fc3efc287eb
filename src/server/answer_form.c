/* answer_form.c - tags are looked for in the text; what may be the beginning of one waits for the rest. */
#include "answer_form.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THINK "<think>"
#define THOUGHT "</think>"
#define CALL "<tool_call>"
#define CALLED "</tool_call>"

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/* Where `tag` stands at or after `from`; `length`: nowhere. */
static size_t find(const char *text, size_t length, size_t from, const char *tag) {
    size_t size = strlen(tag);
    for (const char *at; from + size <= length; from = (size_t)(at - text) + 1) {
        at = memchr(text + from, tag[0], length - size + 1 - from);
        if (!at) return length;
        if (memcmp(at, tag, size) == 0) return (size_t)(at - text);
    }
    return length;
}

/* The end of what surely comes before a tag: without white space, and without what may be the tag's beginning. */
static size_t sure_end(const char *text, size_t begin, size_t end, const char *tag) {
    size_t size = strlen(tag);
    for (size_t held = size - 1; held > 0; held--)
        if (held <= end - begin && memcmp(text + end - held, tag, held) == 0) {
            end -= held;
            break;
        }
    while (end > begin && is_space(text[end - 1])) end--;
    return end;
}

static size_t trimmed_end(const char *text, size_t begin, size_t end) {
    while (end > begin && is_space(text[end - 1])) end--;
    return end;
}

static size_t skip_space(const char *text, size_t length, size_t at) {
    while (at < length && is_space(text[at])) at++;
    return at;
}

/* Sets the thought; *at: where the answer goes on. False: nothing can be told of what comes after. */
static bool split_thought(const fv_answer_form *form, const char *text, size_t length, bool last,
                          fv_answer_parts *parts, size_t *at) {
    size_t size = strlen(THINK), begin = skip_space(text, length, 0), end;
    size_t seen = length - begin < size ? length - begin : size;
    bool opens = memcmp(text + begin, THINK, seen) == 0;
    if (opens && seen < size && !last) return false; /* it may become a tag */
    if (!form->begins_inside && (!opens || seen < size)) return true;
    begin = skip_space(text, length, opens && seen == size ? begin + size : begin);
    end = find(text, length, begin, THOUGHT);
    parts->thought_begin = begin;
    if (end < length) {
        parts->thought_end = trimmed_end(text, begin, end);
        *at = skip_space(text, length, end + strlen(THOUGHT));
        return true;
    }
    parts->thought_end = last ? trimmed_end(text, begin, length) : sure_end(text, begin, length, THOUGHT);
    *at = length;
    return false;
}

void fv_answer_split(const fv_answer_form *form, const char *text, size_t length, bool last, fv_answer_parts *parts) {
    size_t at = 0, end;
    *parts = (fv_answer_parts){0};
    bool goes_on = !form->thinks || split_thought(form, text, length, last, parts, &at);
    parts->content_begin = parts->content_end = at;
    if (!goes_on) return;
    parts->content_end = length;
    if (form->tools == FV_TOOLS_TAGS) {
        end = find(text, length, at, CALL);
        parts->calls = end < length;
        if (parts->calls)
            parts->content_end = trimmed_end(text, at, end);
        else if (!last)
            parts->content_end = sure_end(text, at, length, CALL);
    }
    if (form->tools == FV_TOOLS_BARE) {
        size_t first = skip_space(text, length, at);
        parts->calls = first < length && text[first] == '{';
        if (parts->calls || (first == length && !last)) parts->content_end = at;
    }
    if (!parts->calls || !last) return;
    json_t *calls = fv_answer_calls(form, text, length, "");
    if (!calls) parts->content_end = length;
    parts->calls = calls != NULL;
    json_decref(calls);
}

/* ---- calls ---- */

static bool add_call(json_t *list, const char *text, size_t length, const char *id) {
    char name[80];
    json_t *read = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    json_t *called = json_object_get(read, "name"), *arguments = json_object_get(read, "arguments");
    if (!arguments) arguments = json_object_get(read, "parameters");
    bool fine = json_is_string(called) && (!arguments || json_is_object(arguments));
    char *written = fine && arguments ? json_dumps(arguments, 0) : NULL;
    snprintf(name, sizeof name, "call_%.40s_%zu", id, json_array_size(list));
    if (fine)
        fine = json_array_append_new(list,
                                     json_pack("{s:I, s:s, s:s, s:{s:O, s:s}}", "index",
                                               (json_int_t)json_array_size(list), "id", name, "type", "function",
                                               "function", "name", called, "arguments", written ? written : "{}")) == 0;
    free(written);
    json_decref(read);
    return fine;
}

json_t *fv_answer_calls(const fv_answer_form *form, const char *text, size_t length, const char *id) {
    size_t at = form->thinks ? find(text, length, 0, THOUGHT) : length;
    at = at < length ? at + strlen(THOUGHT) : 0;
    json_t *list = json_array();
    bool fine = list != NULL;
    if (form->tools == FV_TOOLS_BARE) fine = fine && add_call(list, text + at, length - at, id);
    while (fine && form->tools == FV_TOOLS_TAGS && (at = find(text, length, at, CALL)) < length) {
        at += strlen(CALL);
        size_t end = find(text, length, at, CALLED);
        fine = add_call(list, text + at, end - at, id);
        at = end;
    }
    if (fine && json_array_size(list) > 0) return list;
    json_decref(list);
    return NULL;
}

/* ---- templates ---- */

static bool has(const char *text, size_t length, const char *wanted) { return find(text, length, 0, wanted) < length; }

fv_tool_format fv_tool_format_of(const char *text, size_t length) {
    if (has(text, length, CALL))
        return has(text, length, "<function=") || has(text, length, "<arg_key>") ? FV_TOOLS_NONE : FV_TOOLS_TAGS;
    bool llama = has(text, length, "<|start_header_id|>") && has(text, length, "\"parameters\": ");
    return llama ? FV_TOOLS_BARE : FV_TOOLS_NONE;
}

bool fv_template_thinks(const char *text, size_t length) {
    return has(text, length, THINK) && has(text, length, THOUGHT);
}
