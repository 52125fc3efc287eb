/* template.c - the two ways into the interpreter, and the way out of it: whatever fails in there comes back here
 * by longjmp, and takes its memory with it. */
#include "fovea/template.h"
#include "jinja/jinja_run.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEMPLATE_BYTES ((size_t)4 << 20)   /* a longer one is none */
#define TREE_BYTES ((size_t)256 << 20)     /* of memory that one may take when it is read */
#define RENDER_BYTES ((uint64_t)256 << 20) /* and when it is rendered, before its input */
#define STEPS 100000000u

struct fv_template {
    fv_jinja_room room;
    fv_name_list names;
    const fv_node *first;
};

fv_status fv_template_open(fv_template **made, const char *text, size_t length, fv_message *message) {
    if (!made || (!text && length > 0)) return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    if (length > TEMPLATE_BYTES)
        return fv_message_set(message, FV_ERROR_FULL, "a chat template of %zu bytes; the most is %zu", length,
                              TEMPLATE_BYTES);
    fv_template *chat = calloc(1, sizeof *chat);
    if (!chat) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the chat template");
    chat->room.left = TREE_BYTES;
    chat->room.steps = STEPS;
    chat->room.message = message;
    if (setjmp(chat->room.out) == 0) {
        chat->first = fv_parse(&chat->room, text, length, &chat->names);
        *made = chat;
        return FV_OK;
    }
    fv_status status = chat->room.status;
    fv_template_close(chat);
    return status;
}

void fv_template_close(fv_template *made) {
    if (!made) return;
    fv_jinja_room_free(&made->room);
    free(made);
}

static const char *find_name(const fv_template *made, const char *name) {
    for (size_t i = 0; i < made->names.count; i++)
        if (strcmp(made->names.names[i], name) == 0) return made->names.names[i];
    return NULL;
}

bool fv_template_names(const fv_template *made, const char *name) { return find_name(made, name) != NULL; }

/* ---- rendering ---- */

typedef struct rendering {
    fv_jinja_room room;
    fv_run run;
    fv_builder out;
} rendering;

static void render(rendering *r, const fv_template *made, const fv_template_input *input) {
    r->out.room = &r->room;
    r->run = (fv_run){.room = &r->room,
                      .out = &r->out,
                      .call_macro = fv_run_macro,
                      .caller_name = find_name(made, "caller"),
                      .loop_name = find_name(made, "loop"),
                      .now_s = input->now_s != 0 ? input->now_s : (int64_t)time(NULL)};
    (void)fv_scope_open(&r->run, NULL);
    if (input->bos) fv_scope_set(&r->run, find_name(made, "bos_token"), fv_value_text(input->bos));
    if (input->eos) fv_scope_set(&r->run, find_name(made, "eos_token"), fv_value_text(input->eos));
    if (input->json) fv_json_bind(&r->run, &made->names, input->json, input->json_length);
    (void)fv_scope_open(&r->run, r->run.scope);
    fv_run_body(&r->run, made->first);
}

/* Runs of bytes that somebody else wrote. */
static fv_status append_spans(fv_text_spans *contents, const fv_value *made, size_t place) {
    fv_status status = FV_OK;
    for (size_t i = 0, end; i < made->length && status == FV_OK; i = end) {
        fv_origin origin = fv_string_origin(made, i);
        for (end = i + 1; end < made->length && fv_string_origin(made, end) == origin; end++) {
        }
        if (origin == FV_BY_USER) status = fv_text_spans_append(contents, place + i, place + end);
    }
    return status;
}

static fv_status append(const fv_value *made, fv_text *text, fv_text_spans *contents, fv_message *message) {
    size_t before = text->length, spans = contents ? contents->count : 0;
    fv_status status = fv_text_append(text, made->bytes, made->length);
    if (status == FV_OK && contents) status = append_spans(contents, made, before);
    if (status == FV_OK) return status;
    text->length = before;
    if (text->bytes) text->bytes[before] = 0;
    if (contents) contents->count = spans;
    return fv_message_set(message, status, "no memory for the rendered text");
}

fv_status fv_template_render(const fv_template *made, const fv_template_input *input, fv_text *text,
                             fv_text_spans *contents, fv_message *message) {
    if (!made || !input || !text || input->struct_bytes != sizeof *input || (!input->json && input->json_length > 0))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is missing");
    rendering *r = calloc(1, sizeof *r);
    if (!r) return fv_message_set(message, FV_ERROR_MEMORY, "no memory to render the chat template in");
    uint64_t most = input->most_bytes > 0 ? input->most_bytes : RENDER_BYTES + 64 * (uint64_t)input->json_length;
    r->room.left = most < SIZE_MAX ? (size_t)most : SIZE_MAX;
    r->room.steps = input->most_steps > 0 ? input->most_steps : STEPS;
    r->room.message = message;
    fv_status status = FV_OK;
    if (setjmp(r->room.out) == 0) {
        render(r, made, input);
        const fv_value whole = fv_builder_value(&r->out);
        status = append(&whole, text, contents, message);
    } else {
        status = r->room.status;
    }
    fv_jinja_room_free(&r->room);
    free(r);
    return status;
}
