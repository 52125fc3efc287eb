/* listener.h - the socket that clients come to. */
#ifndef FV_LISTENER_H
#define FV_LISTENER_H

#include "server_state.h"

/** Fills listener, url and socket_path. FV_OK, FV_ERROR_FILE, FV_ERROR_ARGUMENT (of what was handed over). */
fv_status fv_listener_open(fv_server *server, fv_message *message);
void fv_listener_remove(fv_server *server); /* the file of a UNIX socket */

#endif
