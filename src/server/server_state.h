/* server_state.h - what the files of this room share: the server, and one request on its way. */
#ifndef FV_SERVER_STATE_H
#define FV_SERVER_STATE_H

#include "answer_form.h"
#include "fovea/chat.h"
#include "fovea/template.h"
#include "reply.h"
#include "server.h"
#include <microhttpd.h>

typedef enum fv_server_phase { FV_SERVER_LOADING, FV_SERVER_RUNNING, FV_SERVER_STOPPING } fv_server_phase;

struct fv_server {
    const fv_server_config *config;
    atomic_int phase; /* fv_server_phase */
    int listener;
    char url[1536];          /* a host has up to 1,025 bytes */
    const char *socket_path; /* NULL: no UNIX socket */
    struct MHD_Daemon *daemon;
    atomic_size_t body_bytes;             /* of all requests that are on their way in */
    atomic_uint key_uses[FV_SERVER_KEYS]; /* requests at work; counted where there is a limit */
    atomic_uint open_replies;             /* requests that came whole and are not through */
    uint64_t began_s;                     /* of the clock on the wall */
    /* from fv_server_start() on: */
    const fv_engine *engine;
    const fv_llm *llm;
    fv_chat_format chat;
    fv_message chat_fault; /* why there is no chat template; empty: there is one */
    fv_template *template; /* the file's own, run where its family is not enough; NULL: template_fault says why */
    fv_message template_fault;
    char *bos, *eos;     /* texts of these tokens, for the template; NULL: none */
    fv_answer_form form; /* of answers to prompts without tools */
    fv_tool_format tool_format;
    char name[256];
    uint32_t slot_tokens;  /* context of a slot */
    const char *attention; /* of requests that name none */
    struct fv_desk *desk;
    struct fv_worker *worker;
};

/** A request whose body has come: what an endpoint is called with. */
typedef struct fv_call {
    fv_server *server;
    const struct fv_route *route;
    fv_reply *reply; /* held */
    fv_text body;
    uint32_t slot;   /* of the path /slots/{id} */
    char action[16]; /* ?action= */
    bool fail_on_no_slot;
    struct fv_call *next;
} fv_call;

/** An endpoint. It answers call->reply, now or later; the call is gone when it returns. */
typedef void fv_route_fn(fv_call *call);

typedef struct fv_route {
    const char *method, *path; /* a path that ends in '/' has a number after it */
    fv_route_fn *serve;
    bool open;  /* no key is asked for, nor that the model be loaded */
    bool quick; /* may be called by the thread of HTTP */
} fv_route;

#endif
