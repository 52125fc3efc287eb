/* replay.c - runs a fuzz target over files and folders without a fuzzer; a crash or a sanitizer report is the failure.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    uint8_t *data = NULL;
    size_t size = 0, capacity = 0, got = 1;
    while (got > 0) {
        if (size == capacity) {
            capacity = capacity ? capacity * 2 : 65536;
            uint8_t *grown = realloc(data, capacity);
            if (!grown) break;
            data = grown;
        }
        got = fread(data + size, 1, capacity - size, file);
        size += got;
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static size_t replay_path(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return replay_file(path);
    size_t runs = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.') continue;
        char child[4096];
        if (snprintf(child, sizeof child, "%s/%s", path, entry->d_name) < (int)sizeof child) runs += replay_path(child);
    }
    closedir(folder);
    return runs;
}

int main(int argc, char **argv) {
    size_t runs = 0;
    for (int i = 1; i < argc; i++) runs += replay_path(argv[i]);
    printf("%zu inputs replayed\n", runs);
    return runs > 0 ? 0 : 1;
}
