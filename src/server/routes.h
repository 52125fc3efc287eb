/* routes.h - which endpoint a path means. */
#ifndef FV_ROUTES_H
#define FV_ROUTES_H

#include "server_state.h"

/**
 * The endpoint of a path without prefix; NULL if there is none.
 *
 * number   out: what follows a path that ends in '/'.
 * other    out: there is an endpoint, but not for this method.
 * reason   out: NULL, or why there is none for a path that other servers have.
 */
const fv_route *fv_routes_find(const char *method, const char *path, uint32_t *number, bool *other,
                               const char **reason);

#endif
