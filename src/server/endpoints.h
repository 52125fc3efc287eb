/* endpoints.h - the endpoints, by the path that they serve. */
#ifndef FV_ENDPOINTS_H
#define FV_ENDPOINTS_H

#include "server_state.h"

/** Answers with what `status` comes to: 400, 501, 503, 500. */
void fv_call_fail(fv_call *call, fv_status status, const fv_message *message);
/** The body as an object; NULL: the call was answered. */
json_t *fv_call_body(fv_call *call);

/* api_info.c */
fv_route_fn fv_api_health, fv_api_models, fv_api_props, fv_api_tokenizer_info, fv_api_version, fv_api_tags, fv_api_show;
/* api_text.c */
fv_route_fn fv_api_tokenize, fv_api_detokenize, fv_api_template;
/* api_generate.c */
fv_route_fn fv_api_completions, fv_api_chat, fv_api_llama, fv_api_responses, fv_api_ollama_generate, fv_api_ollama_chat;
/* api_state.c */
fv_route_fn fv_api_slots, fv_api_metrics, fv_api_slot;

#endif
