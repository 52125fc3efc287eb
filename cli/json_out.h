/* json_out.h - the one JSON document of --json. Failures (memory) are remembered and reported when it is written. */
#ifndef FOVEA_JSON_OUT_H
#define FOVEA_JSON_OUT_H

#include "cli.h"
#include <jansson.h>
#include <stdint.h>

/* Values; NULL where there was no memory. A text that may not be UTF-8: what is not becomes U+FFFD, since JSON has no
 * other way. A number that is not finite is null. */
json_t *cli_text(const char *text);
json_t *cli_json_string(const char *bytes, size_t length);
json_t *cli_count(uint64_t count);
json_t *cli_real(double value);

/* A member of an object; both calls take the reference to the value. */
typedef struct cli_json_field {
    const char *key;
    json_t *value;
} cli_json_field;
#define CLI_ADD(OBJECT, ...) cli_json_add(OBJECT, (const cli_json_field[]){__VA_ARGS__, {NULL, NULL}})
void cli_json_add(json_t *object, const cli_json_field *fields);
void cli_json_set(json_t *object, const char *key, json_t *value);
void cli_json_append(json_t *array, json_t *value); /* likewise */

/** Writes `document` and a newline to standard output, and drops the reference. CLI_DONE or CLI_FAILED. */
int cli_json_print(json_t *document);
int cli_json_print_line(json_t *document); /* the same on one line */

#endif
