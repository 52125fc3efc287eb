/* dialogue.h - a conversation as the template of the model's file renders it: with tools, calls, thoughts and whatever
 * variables the template has. */
#ifndef FV_DIALOGUE_H
#define FV_DIALOGUE_H

#include "prompt.h"

/** The server's template, from its configuration or the model's file, and what answers look like. Without one, or
 *  with one that can't be read, server->template is NULL and template_fault says why. */
void fv_dialogue_open(fv_server *server);
void fv_dialogue_close(fv_server *server);

/** Whether the conversation is rendered so: nothing cheaper is known, or says what it says. */
bool fv_dialogue_wanted(const fv_server *server, const fv_chat_ask *ask);

/** As fv_prompts_chat(). Sets the form of the answer too. */
fv_status fv_dialogue_render(fv_prompt *prompt, fv_answer_form *form, const fv_server *server, const fv_chat_ask *ask,
                             fv_message *message);

#endif
