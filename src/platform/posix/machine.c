/* machine.c - facts about this process and processor, read from /proc where it exists. */
#include "fovea/machine.h"
#include "platform/environment.h"
#include "platform/linux_only.h"
#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t fv_machine_clock_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t fv_machine_clock(void *context) {
    (void)context;
    return fv_machine_clock_ns();
}

/* The rest of the first line of `path` that starts with `key`; false if there is none. */
static bool find_line(const char *path, const char *key, char *rest, size_t bytes) {
    FILE *file = fopen(path, "r");
    if (!file) return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *value = line + strlen(key) + strspn(line + strlen(key), " \t:");
        snprintf(rest, bytes, "%.*s", (int)strcspn(value, "\n"), value);
        found = true;
    }
    fclose(file);
    return found;
}

uint64_t fv_machine_peak_bytes(void) {
    char text[64];
    if (find_line("/proc/self/status", "VmHWM", text, sizeof text)) return (uint64_t)strtoull(text, NULL, 10) * 1024u;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0) return 0;
    return (uint64_t)usage.ru_maxrss * 1024u;
}

uint64_t fv_machine_memory_bytes(void) {
    char text[64];
    if (find_line("/proc/meminfo", "MemTotal", text, sizeof text)) return (uint64_t)strtoull(text, NULL, 10) * 1024u;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

void fv_machine_processor_name(char *name, size_t bytes) {
    if (!find_line("/proc/cpuinfo", "model name", name, bytes)) snprintf(name, bytes, "unknown");
}

fv_status fv_machine_isa(fv_isa *limit, fv_isa *reached, fv_message *message) {
    alignas(8) unsigned char memory[FV_KERNELS_BYTES];
    const fv_kernels *kernels;
    fv_isa named;
    fv_status status = fv_environment_isa(&named, message);
    if (status != FV_OK) return status;
    status = fv_kernels_init(&kernels, named, memory, sizeof memory);
    if (status != FV_OK) return fv_message_set(message, status, "%s", fv_status_text(status));
    *limit = named;
    *reached = fv_kernels_isa(kernels);
    return FV_OK;
}

uint32_t fv_machine_seed(void) {
    uint32_t seed = 0;
    FILE *file = fopen("/dev/urandom", "rb");
    bool read = file && fread(&seed, sizeof seed, 1, file) == 1;
    if (file) fclose(file);
    if (!read) seed = (uint32_t)fv_machine_clock_ns() ^ ((uint32_t)getpid() << 16);
    return seed;
}
