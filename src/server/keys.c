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

bool fv_keys_allow(const fv_server_config *config, const char *authorization, const char *plain) {
    const char *given = plain;
    bool found = config->key_count == 0;
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0) given = authorization + 7;
    while (given && *given == ' ') given++;
    for (size_t i = 0; given && i < config->key_count; i++)
        if (equal(config->keys[i], given)) found = true;
    return found;
}
