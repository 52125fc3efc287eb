/* keys.c - all keys are compared whole. */
#include "keys.h"
#include <string.h>
#include <strings.h>

static bool equal(const char *key, const char *given) {
    size_t length = strlen(given), wanted = strlen(key);
    unsigned difference = length != wanted;
    for (size_t i = 0; i < wanted; i++)
        difference |= (unsigned char)key[i] ^ (unsigned char)(i < length ? given[i] : 0);
    return difference == 0;
}

int fv_keys_find(const fv_server_config *config, const char *authorization, const char *plain) {
    const char *given = plain;
    int found = config->key_count == 0 ? 0 : -1;
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0) given = authorization + 7;
    while (given && *given == ' ') given++;
    for (size_t i = 0; given && i < config->key_count; i++)
        if (equal(config->keys[i], given)) found = (int)i;
    return found;
}

bool fv_keys_take(fv_server *server, int key) {
    if (atomic_fetch_add(&server->key_uses[key], 1) < server->config->key_limit) return true;
    fv_keys_give_back(server, key);
    return false;
}

void fv_keys_give_back(fv_server *server, int key) { atomic_fetch_sub(&server->key_uses[key], 1); }
