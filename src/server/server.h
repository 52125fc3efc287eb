/* server.h - one model over HTTP: what `fovea serve` starts. A library of its own, which libfovea does not need. */
#ifndef FV_SERVER_H
#define FV_SERVER_H

#include "fovea/engine.h"
#include "fovea/message.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define FV_SERVER_KEYS 64 /* most keys */

/** When the template is run, and not its family's spacing used. */
typedef enum fv_server_jinja {
    FV_SERVER_JINJA_AUTO, /* where there is no known family, and for what a family can't say */
    FV_SERVER_JINJA_ON,   /* always */
    FV_SERVER_JINJA_OFF   /* never */
} fv_server_jinja;

typedef struct fv_server_config {
    const char *host;         /* a name, an address, or the path of a UNIX socket if it ends in ".sock" */
    uint32_t port;            /* 0: a free one */
    const char *name;         /* of the model, for clients; NULL: its file's */
    const char *prefix;       /* of all paths; "": none */
    const char *cors_origins; /* whose pages may ask from a browser: "*", or a list with commas; NULL: none */
    const char *const *keys;  /* [key_count] one of them has to come with a request; none: nobody is asked */
    size_t key_count;
    const char *tls_key, *tls_certificate; /* PEM texts, both or none: HTTPS */
    uint32_t timeout_s;                    /* that a connection may do nothing */
    uint64_t max_body_bytes;               /* of one request */
    uint32_t slots;                        /* answers at a time */
    uint32_t queue;                        /* answers that may wait */
    uint32_t context_tokens;               /* of all slots together; 0: each as many as the model was trained on */
    const char *chat_template;             /* a family's name; NULL: the one that the model file has */
    const char *template_text;             /* a template that is run in place of the file's; NULL: none */
    uint32_t jinja;                        /* fv_server_jinja */
    uint32_t lookup;                       /* tokens guessed at a time, at most FV_GENERATE_GUESSES; 0: none */
    const char *attention;                 /* policy of requests that name none; NULL: fv_engine_attention() */
    uint64_t cache_bytes;                  /* of all contexts together; 0: what this process may use */
    const char *slot_folder;               /* where slots are saved to; NULL: nowhere */
    const char *session_folder;            /* where what was read stays when the server ends; NULL: nowhere */
    uint64_t session_bytes;                /* of all files there */
    uint32_t key_limit;                    /* requests at a time with the same key; 0: any number */
    bool no_page;                          /* at "/" */
    FILE *access_log;                      /* a line of JSON for each request; NULL: none */
} fv_server_config;

void fv_server_config_default(fv_server_config *config);

typedef struct fv_server fv_server;

/**
 * Listens; where a service manager does already, on its socket in place of host and port. Until fv_server_start() every
 * request but for health is told that the model is being loaded.
 *
 * config   is needed, with what it points to, until the server is closed.
 * returns  FV_OK, FV_ERROR_ARGUMENT (of the policy or the template), FV_ERROR_FILE (the address can't be had; the
 *          message says why), FV_ERROR_MEMORY.
 */
fv_status fv_server_open(fv_server **server, const fv_server_config *config, fv_message *message);
const char *fv_server_url(const fv_server *server); /* "http://127.0.0.1:8080" */

/** Answers from now on. engine: until the server is closed. message: with FV_OK a remark, or empty. */
fv_status fv_server_start(fv_server *server, const fv_engine *engine, fv_message *message);

/** No new requests; those that run end, or are cut after grace_s seconds with an error as their last event. Then what
 * was read is kept. FV_OK; FV_ERROR_FILE, FV_ERROR_MEMORY: it could not be, the message says why. */
fv_status fv_server_stop(fv_server *server, uint32_t grace_s, fv_message *message);
void fv_server_close(fv_server *server); /* NULL is allowed */

#endif
