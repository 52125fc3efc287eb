/* keys.h - who may ask. */
#ifndef FV_KEYS_H
#define FV_KEYS_H

#include "server_state.h"

/** Which of the keys `authorization` ("Bearer KEY") or `plain` (X-Api-Key) has; NULL: the header did not come. -1:
 * none; 0 where nobody is asked for one. Time does not depend on where a key differs. */
int fv_keys_find(const fv_server_config *config, const char *authorization, const char *plain);

/** Requests at work by key, of which each key has config->key_limit at most. Thread-safe. */
bool fv_keys_take(fv_server *server, int key); /* false: it has as many as it may */
void fv_keys_give_back(fv_server *server, int key);

#endif
