/* http.h - connections: bodies in, replies out, one thread. Knows no endpoint by name. */
#ifndef FV_HTTP_H
#define FV_HTTP_H

#include "server_state.h"

fv_status fv_http_start(fv_server *server, fv_message *message);
void fv_http_quiesce(fv_server *server); /* no new connections */
void fv_http_stop(fv_server *server);    /* every reply has ended */

#endif
