/* json_out.h - the one JSON document of --json. Failures (memory) are remembered and reported when it is written. */
#ifndef FOVEA_JSON_OUT_H
#define FOVEA_JSON_OUT_H

#include "cli.h"
#include <jansson.h>
#include <stdint.h>

void cli_json_text(json_t *object, const char *key, const char *text);
/** Bytes that may not be UTF-8: what is not becomes U+FFFD, since JSON has no other way. */
void cli_json_bytes(json_t *object, const char *key, const char *bytes, size_t length);
json_t *cli_json_string(const char *bytes, size_t length);
void cli_json_count(json_t *object, const char *key, uint64_t count);
void cli_json_real(json_t *object, const char *key, double value); /* null if not finite */
void cli_json_bool(json_t *object, const char *key, bool value);
void cli_json_set(json_t *object, const char *key, json_t *value); /* takes the reference */
void cli_json_append(json_t *array, json_t *value);                /* takes the reference */

/** Writes `document` and a newline to standard output, and drops the reference. CLI_DONE or CLI_FAILED. */
int cli_json_print(json_t *document);

#endif
