/* gate_vectors.h - reads recorded vectors: a .npy of floats or bytes, and the few keys of a case.json that the gate's
 * tests ask for. Where the folder is missing the test is skipped and says so. */
#ifndef FV_TEST_GATE_VECTORS_H
#define FV_TEST_GATE_VECTORS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS_FOLDER FV_SOURCE_DIR "/tests/golden/reference"

/* All of a file and a 0 after it, or NULL. */
static inline char *vectors_read(const char *name, const char *file, size_t *bytes) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s/%s", VECTORS_FOLDER, name, file);
    FILE *in = fopen(path, "rb");
    if (!in) return NULL;
    fseek(in, 0, SEEK_END);
    long size = ftell(in);
    rewind(in);
    char *data = size < 0 ? NULL : malloc((size_t)size + 1);
    if (!data || fread(data, 1, (size_t)size, in) != (size_t)size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    fclose(in);
    data[size] = 0;
    *bytes = (size_t)size;
    return data;
}

/* The elements of a version 1.0 file, `width` bytes each; freed by the caller. */
static inline void *vectors_npy(const char *name, const char *file, size_t width, size_t *count) {
    size_t bytes;
    char *data = vectors_read(name, file, &bytes);
    if (!data || bytes < 10 || memcmp(data, "\x93NUMPY\x01", 7) != 0) {
        fprintf(stderr, "%s/%s is missing or no .npy\n", name, file);
        exit(1);
    }
    size_t header = 10 + (size_t)(unsigned char)data[8] + 256 * (size_t)(unsigned char)data[9];
    *count = (bytes - header) / width;
    void *elements = malloc(bytes - header + 1);
    if (!elements) exit(1);
    memcpy(elements, data + header, bytes - header);
    free(data);
    return elements;
}

static inline float *vectors_f32(const char *name, const char *file, size_t *count) {
    return vectors_npy(name, file, 4, count);
}

/* What stands after "key": in a text, a quote before it skipped. */
static inline const char *vectors_find(const char *text, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *found = strstr(text, quoted);
    if (!found) {
        fprintf(stderr, "no key %s\n", key);
        exit(1);
    }
    found += strlen(quoted);
    while (*found == ' ' || *found == '"') found++;
    return found;
}

static inline float vectors_number(const char *text, const char *key) { return strtof(vectors_find(text, key), NULL); }

static inline uint32_t vectors_count(const char *text, const char *key) {
    return (uint32_t)strtoul(vectors_find(text, key), NULL, 10);
}

/* A flat list of at most `room` numbers; "nan" and the like may be strings. */
static inline size_t vectors_list(const char *text, const char *key, float *out, size_t room) {
    const char *at = vectors_find(text, key) + 1;
    size_t count = 0;
    for (;;) {
        while (*at == ' ' || *at == ',' || *at == '"') at++;
        if (*at == ']') return count;
        char *end;
        float x = strtof(at, &end);
        if (end == at || count == room) exit(1);
        out[count++] = x;
        at = end;
    }
}

#endif
