/* keys.h - who may ask. */
#ifndef FV_KEYS_H
#define FV_KEYS_H

#include "server.h"

/** Whether `authorization` ("Bearer KEY") or `plain` (X-Api-Key) has one of the keys; NULL: the header did not come.
 * Time does not depend on where a key differs. */
bool fv_keys_allow(const fv_server_config *config, const char *authorization, const char *plain);

#endif
