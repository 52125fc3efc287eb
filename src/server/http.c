/* http.c - libmicrohttpd's own thread. A connection whose reply is not there yet is suspended; whoever answers wakes
 * it, and looks meanwhile whether its client is still there, since nobody else does. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "http.h"
#include "access_log.h"
#include "cors.h"
#include "desk.h"
#include "fovea/machine.h"
#include "fovea/version.h"
#include "http_library.h"
#include "keys.h"
#include "page.h"
#include "routes.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNECTIONS = 1000, READ_BYTES = 16384, BODIES = 8 /* of the largest size at a time */ };

/* One request on a connection. */
typedef struct exchange {
    fv_server *server;
    struct MHD_Connection *connection;
    int socket;
    fv_call *call; /* until it is handed on */
    fv_reply *reply;
    size_t claimed; /* of server->body_bytes */
    int key;        /* whose share of requests this one takes; -1: nobody's */
    bool body_read;
    fv_access access;
} exchange;

/* ---- the peer of a reply ---- */

static void peer_wake(void *context) { fv_mhd.resume_connection(((exchange *)context)->connection); }
static void peer_suspend(void *context) { fv_mhd.suspend_connection(((exchange *)context)->connection); }

static bool peer_is_there(void *context) {
    struct pollfd file = {.fd = ((exchange *)context)->socket, .events = POLLRDHUP};
    return poll(&file, 1, 0) <= 0 || !(file.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* ---- what is known from the head of a request ---- */

static const char *header(const exchange *e, const char *name) {
    return fv_mhd.lookup_connection_value(e->connection, MHD_HEADER_KIND, name);
}

static const char *allowed_origin(const exchange *e) {
    return fv_cors_answer(e->server->config->cors_origins, header(e, "Origin"));
}

static const char *query(const exchange *e, const char *name) {
    return fv_mhd.lookup_connection_value(e->connection, MHD_GET_ARGUMENT_KIND, name);
}

static void read_query(const exchange *e, fv_call *call) {
    const char *action = query(e, "action"), *fail = query(e, "fail_on_no_slot");
    if (action) strncpy(call->action, action, sizeof call->action - 1);
    call->fail_on_no_slot = fail && strcmp(fail, "0") != 0;
}

/* Of what one key may ask at a time; an answer that is being written counts until it has gone out. */
static bool take_share(exchange *e, int key) {
    uint32_t limit = e->server->config->key_limit;
    if (limit == 0) return true;
    if (fv_keys_take(e->server, key))
        e->key = key;
    else
        fv_reply_error(e->reply, 429, "this key has %u requests at work already: come again", limit);
    return e->key >= 0;
}

/* Whether it may be served; else the reply says why not. */
static bool admit(exchange *e, const char *method, const char *path) {
    const fv_server *server = e->server;
    const char *prefix = server->config->prefix, *reason = NULL;
    size_t length = strlen(prefix);
    bool other = false;
    const fv_route *route = NULL;
    if (strncmp(path, prefix, length) == 0)
        route = fv_routes_find(strcmp(method, "HEAD") == 0 ? "GET" : method, path + length, &e->call->slot, &other,
                               &reason);
    e->call->route = route;
    e->reply->plain_error = strncmp(path, prefix, length) == 0 && strncmp(path + length, "/api/", 5) == 0;
    if (route && route->open) return true;
    if (strcmp(method, "OPTIONS") == 0 && allowed_origin(e)) { /* a browser asks before it asks */
        fv_reply_text(e->reply, 204, NULL, "", 0);
        return false;
    }
    int key = fv_keys_find(server->config, header(e, "Authorization"), header(e, "X-Api-Key"));
    if (key < 0)
        fv_reply_error(e->reply, 401, "this server asks for an API key: Authorization: Bearer KEY");
    else if (reason)
        fv_reply_error(e->reply, 501, "%s", reason);
    else if (!route && other)
        fv_reply_error(e->reply, 405, "%.64s does not take %.16s", path, method);
    else if (!route)
        fv_reply_error(e->reply, 404, "there is no %.64s here", path);
    else if (atomic_load(&server->phase) == FV_SERVER_LOADING)
        fv_reply_error(e->reply, 503, "Loading model");
    else if (atomic_load(&server->phase) == FV_SERVER_STOPPING)
        fv_reply_error(e->reply, 503, "the server is stopping");
    else
        return route->quick || take_share(e, key);
    return false;
}

static void refuse_body(exchange *e) {
    if (!fv_reply_began(e->reply))
        fv_reply_error(e->reply, 413, "the body is larger than %llu bytes",
                       (unsigned long long)e->server->config->max_body_bytes);
}

static exchange *exchange_new(fv_server *server, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = fv_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    exchange *e = calloc(1, sizeof *e);
    fv_call *call = calloc(1, sizeof *call);
    fv_reply *reply = fv_reply_new();
    if (!e || !call || !reply || !info) {
        free(e);
        free(call);
        fv_reply_drop(reply);
        return NULL;
    }
    fv_reply_hold(reply);
    *call = (fv_call){.server = server, .reply = reply};
    *e = (exchange){.server = server,
                    .connection = connection,
                    .socket = info->connect_fd,
                    .key = -1,
                    .call = call,
                    .reply = reply};
    reply->peer = (fv_reply_peer){peer_wake, peer_is_there, e};
    return e;
}

/* ---- the body ---- */

static void take_body(exchange *e, const char *bytes, size_t length) {
    fv_server *server = e->server;
    if (fv_reply_began(e->reply)) return; /* refused: read and forgotten */
    if (length > server->config->max_body_bytes - e->call->body.length) {
        refuse_body(e);
        return;
    }
    e->claimed += length;
    if (atomic_fetch_add(&server->body_bytes, length) + length > BODIES * server->config->max_body_bytes)
        fv_reply_error(e->reply, 429, "too many large requests at a time");
    else if (fv_text_append(&e->call->body, bytes, length) != FV_OK)
        fv_reply_error(e->reply, 503, "no memory for the body");
}

static void hand_on(exchange *e) {
    fv_call *call = e->call;
    e->call = NULL;
    e->body_read = true;
    atomic_fetch_add(&e->server->open_replies, 1);
    if (fv_reply_began(e->reply) || !call->route)
        fv_call_free(call);
    else if (call->route->quick)
        fv_call_serve(call);
    else
        fv_desk_put(e->server->desk, call);
}

/* ---- the answer ---- */

static ssize_t read_reply(void *context, uint64_t position, char *bytes, size_t most) {
    exchange *e = context;
    bool ended = false;
    (void)position;
    do {
        size_t count = fv_reply_read(e->reply, bytes, most, &ended);
        if (count > 0) return (ssize_t)count;
        if (ended) return MHD_CONTENT_READER_END_OF_STREAM;
    } while (fv_reply_await(e->reply, true, peer_suspend));
    return 0;
}

/* A page of another origin, where it may talk to the server. */
static void add_cors(const exchange *e, struct MHD_Response *response, unsigned status) {
    const char *origin = allowed_origin(e);
    if (!origin) return;
    fv_mhd.add_response_header(response, "Access-Control-Allow-Origin", origin);
    if (origin[0] != '*') fv_mhd.add_response_header(response, "Vary", "Origin");
    if (status != 204) return;
    fv_mhd.add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    fv_mhd.add_response_header(response, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key");
    fv_mhd.add_response_header(response, "Access-Control-Max-Age", "600");
}

static void add_headers(struct MHD_Response *response, unsigned status, const char *type, bool streamed) {
    const char *policy = fv_page_policy(type);
    fv_mhd.add_response_header(response, "Server", "fovea/" FV_VERSION_STRING);
    if (type) fv_mhd.add_response_header(response, "Content-Type", type);
    fv_mhd.add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (policy) fv_mhd.add_response_header(response, "Content-Security-Policy", policy);
    if (policy) fv_mhd.add_response_header(response, "Referrer-Policy", "no-referrer");
    if (status == 401) fv_mhd.add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status == 429) fv_mhd.add_response_header(response, "Retry-After", "1");
    if (!streamed) return;
    fv_mhd.add_response_header(response, "Cache-Control", "no-cache");
    fv_mhd.add_response_header(response, "X-Accel-Buffering", "no"); /* nginx: pass it on as it comes */
}

static enum MHD_Result respond(exchange *e) {
    fv_reply *reply = e->reply;
    struct MHD_Response *response = NULL;
    pthread_mutex_lock(&reply->lock);
    unsigned status = reply->status;
    const char *type = reply->type;
    bool streamed = reply->streamed, gone = reply->gone || status == 0;
    if (!gone && !streamed) {
        response = fv_mhd.create_response_from_buffer(reply->bytes.length, reply->bytes.bytes, MHD_RESPMEM_MUST_COPY);
        reply->sent = reply->bytes.length;
    }
    pthread_mutex_unlock(&reply->lock);
    if (gone) return MHD_NO;
    if (streamed) response = fv_mhd.create_response_from_callback(MHD_SIZE_UNKNOWN, READ_BYTES, read_reply, e, NULL);
    if (!response) return MHD_NO;
    e->access.status = status;
    add_headers(response, status, type, streamed);
    add_cors(e, response, status);
    enum MHD_Result result = fv_mhd.queue_response(e->connection, status, response);
    fv_mhd.destroy_response(response);
    return result;
}

/* ---- libmicrohttpd's callbacks ---- */

static enum MHD_Result on_head(fv_server *server, struct MHD_Connection *connection, const char *method,
                               const char *path, void **context) {
    exchange *e = exchange_new(server, connection);
    if (!e) return MHD_NO;
    *context = e;
    fv_access_begin(&e->access, method, path, connection);
    read_query(e, e->call);
    const char *length = header(e, "Content-Length");
    bool good = admit(e, method, path);
    if (good && length && strtoull(length, NULL, 10) > server->config->max_body_bytes) {
        refuse_body(e);
        good = false;
    }
    if (good || !header(e, "Expect")) return MHD_YES;
    hand_on(e); /* it waits to be asked for its body */
    return respond(e);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *bytes, size_t *length,
                                  void **request) {
    exchange *e = *request;
    (void)version;
    if (!e) return on_head(context, connection, method, path, request);
    if (*length > 0) {
        take_body(e, bytes, *length);
        *length = 0;
        return MHD_YES;
    }
    if (!e->body_read) hand_on(e);
    return fv_reply_await(e->reply, false, peer_suspend) ? respond(e) : MHD_YES;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **request,
                         enum MHD_RequestTerminationCode code) {
    exchange *e = *request;
    fv_server *server = context;
    (void)connection;
    if (!e) return;
    fv_reply_leave(e->reply);
    if (server->config->access_log)
        fv_access_write(&e->access, e->reply, code == MHD_REQUEST_TERMINATED_COMPLETED_OK, server->config->access_log);
    atomic_fetch_sub(&server->body_bytes, e->claimed);
    if (e->body_read) atomic_fetch_sub(&server->open_replies, 1);
    if (e->key >= 0) fv_keys_give_back(server, e->key);
    fv_call_free(e->call);
    fv_reply_drop(e->reply);
    free(e);
    *request = NULL;
}

static void on_log(void *context, const char *format, va_list arguments) {
    (void)context; /* what a client did wrong is its own affair */
    (void)format;
    (void)arguments;
}

fv_status fv_http_start(fv_server *server, fv_message *message) {
    const fv_server_config *config = server->config;
    fv_status status = fv_http_library_load(message);
    if (status != FV_OK) return status;
    const struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)config->tls_key},
                                         {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)config->tls_certificate},
                                         {MHD_OPTION_END, 0, NULL}};
    /* Not epoll: where data and the end come together, MHD 0.9.75 hears of the data only. */
    unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (config->tls_key && fv_mhd.is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "this libmicrohttpd was built without TLS");
    if (config->tls_key) flags |= MHD_USE_TLS;
    server->daemon = fv_mhd.start_daemon(
        flags, 0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
        (MHD_socket)server->listener, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)config->timeout_s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_ARRAY,
        config->tls_key ? tls : tls + 2, MHD_OPTION_END);
    if (server->daemon) return FV_OK;
    return fv_message_set(message, FV_ERROR_FILE, "the HTTP server can't be started%s",
                          config->tls_key ? ": key and certificate must be PEM and belong together"
                                          : ": there is no memory or no thread for it");
}

void fv_http_quiesce(fv_server *server) {
    if (server->listener < 0 || !server->daemon) return;
    if (fv_mhd.quiesce_daemon(server->daemon) != MHD_INVALID_SOCKET) close(server->listener);
    server->listener = -1;
}

void fv_http_stop(fv_server *server) {
    if (server->daemon) fv_mhd.stop_daemon(server->daemon);
    server->daemon = NULL;
}
