/* supervisor.h - what a service manager such as systemd hands over and wants to hear: the socket that it listens on for
 * us, and how far we are. By its protocol, without its library. */
#ifndef FV_SUPERVISOR_H
#define FV_SUPERVISOR_H

#include "fovea/message.h"

/**
 * The socket that was handed over (LISTEN_PID, LISTEN_FDS), once; later calls, and processes begun later, find none.
 *
 * made     out: -1: there is none; untouched on error.
 * returns  FV_OK, FV_ERROR_ARGUMENT (more than one, or it is no stream socket that listens).
 */
fv_status fv_supervisor_socket(int *made, fv_message *message);

/** Tells the manager that waits (NOTIFY_SOCKET): "READY=1", "STOPPING=1". Nothing where nobody does. */
void fv_supervisor_tell(const char *state);

#endif
