/* desk.h - the thread that reads what requests say: JSON, templates and tokens take time, which HTTP must not wait for.
 */
#ifndef FV_DESK_H
#define FV_DESK_H

#include "server_state.h"

typedef struct fv_desk fv_desk;

fv_status fv_desk_open(fv_desk **desk, fv_message *message);
void fv_desk_put(fv_desk *desk, fv_call *call); /* takes it */
void fv_desk_stop(fv_desk *desk);  /* once all of it is read: what comes later is told that the server is stopping */
void fv_desk_close(fv_desk *desk); /* stops it; NULL is allowed */

void fv_call_serve(fv_call *call); /* by its endpoint; the call is freed */
void fv_call_free(fv_call *call);

#endif
