/* access_log.h - one line of JSON for each request: who, what, how long, how many tokens; nothing of their text. */
#ifndef FV_ACCESS_LOG_H
#define FV_ACCESS_LOG_H

#include "server_state.h"

typedef struct fv_access {
    uint64_t began_ns;
    unsigned status; /* 0: none was sent */
    char method[12], path[96], client[64];
} fv_access;

void fv_access_begin(fv_access *access, const char *method, const char *path, struct MHD_Connection *connection);
/** complete: the client got all of it. */
void fv_access_write(const fv_access *access, fv_reply *reply, bool complete, FILE *file);

#endif
