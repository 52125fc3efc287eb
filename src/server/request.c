/* request.c - requests, as they are made and unmade. */
#include "request.h"
#include "fovea/machine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHOICES_MOST = 1024 };

fv_status fv_request_new(fv_request **request, fv_call *call, const fv_shape *shape, const char *id_prefix,
                         fv_message *message) {
    fv_request *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the request");
    *made = (fv_request){.server = call->server,
                         .reply = call->reply,
                         .shape = shape,
                         .created_s = (uint64_t)time(NULL),
                         .came_ns = fv_machine_clock_ns()};
    fv_reply_hold(made->reply);
    snprintf(made->id, sizeof made->id, "%s%08x%08x", id_prefix, fv_machine_seed(), fv_machine_seed());
    fv_status status = fv_settings_default(&made->settings, call->server, message);
    if (status == FV_OK)
        *request = made;
    else
        fv_request_free(made);
    return status;
}

static void choice_free(fv_choice *choice) {
    fv_sampler_close(choice->sampler);
    fv_answer_text_close(choice->text);
    fv_tokens_free(&choice->tokens);
    fv_guesses_close(&choice->guesses);
    free(choice->entries);
    free(choice->tops);
    fv_passages_free(&choice->passages);
}

void fv_request_free(fv_request *request) {
    if (!request) return;
    for (size_t i = 0; i < request->choice_count; i++) choice_free(&request->choices[i]);
    free(request->choices);
    fv_settings_free(&request->settings);
    fv_prompts_free(&request->prompts);
    fv_reply_drop(request->reply);
    free(request);
}

static fv_status check_fit(const fv_request *request, fv_message *message) {
    size_t room = request->server->slot_tokens;
    for (size_t i = 0; i < request->prompts.count; i++) {
        size_t tokens = request->prompts.items[i].tokens.count;
        if (tokens <= room) continue;
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "the prompt has %zu tokens, the context of a slot holds %zu: shorten it, or start the "
                              "server with a longer context or fewer slots",
                              tokens, room);
    }
    return FV_OK;
}

fv_status fv_request_prepare(fv_request *request, fv_message *message) {
    const fv_settings *settings = &request->settings;
    uint32_t layers = fv_llm_config(request->server->llm)->layers;
    size_t answers = (size_t)request->settings.answers, count = request->prompts.count * answers;
    fv_status status = check_fit(request, message);
    if (status != FV_OK) return status;
    if (count > CHOICES_MOST)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "field 'n': %zu answers at a time; the most is %d", count,
                              CHOICES_MOST);
    for (size_t i = 0; i < request->prompts.count && settings->reads > 0; i++) {
        status = fv_prompt_place(&request->prompts.items[i], fv_llm_tokenizer(request->server->llm));
        if (status != FV_OK) return fv_message_set(message, status, "no memory for the places of tokens");
    }
    request->choices = calloc(count, sizeof *request->choices);
    if (!request->choices) return fv_message_set(message, FV_ERROR_MEMORY, "no memory for the answers");
    request->choice_count = request->open_count = count;
    for (size_t i = 0; i < count; i++)
        request->choices[i] =
            (fv_choice){.request = request,
                        .prompt = &request->prompts.items[i / answers],
                        .index = (uint32_t)i,
                        .stop = -1,
                        .pending = -1,
                        .passages = {.most = (size_t)settings->reads, .layers = settings->reads_layers ? layers : 0},
                        .report = {.struct_bytes = sizeof(fv_report)}};
    return FV_OK;
}

bool fv_request_gone(fv_request *request) { return request->failed || fv_reply_gone(request->reply); }

void fv_request_fail(fv_request *request, unsigned status, const char *text) {
    if (!request->failed) fv_reply_error(request->reply, status, "%s", text);
    request->failed = true;
}
