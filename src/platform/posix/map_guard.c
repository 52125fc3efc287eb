/* map_guard.c - the handler of SIGBUS, and the list that it walks: it must take no lock, so places are atomic. */
#include "platform/map_guard.h"
#include "fovea/file_fault.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

enum { PLACES = 256 };

/* `begin` is set last and cleared first: a place without it is free, or on its way. */
static struct place {
    atomic_flag taken;
    _Atomic uintptr_t begin, end;
    const char *_Atomic path;
} places[PLACES];

static struct {
    fv_file_fault_fn *handler; /* NULL: none is installed */
    void *context;
    struct sigaction before;
} guard;

void fv_map_guard_add(const void *bytes, size_t count, const char *path) {
    for (size_t i = 0; i < PLACES; i++) {
        struct place *place = &places[i];
        if (atomic_flag_test_and_set(&place->taken)) continue;
        atomic_store(&place->end, (uintptr_t)bytes + count);
        atomic_store(&place->path, path);
        atomic_store(&place->begin, (uintptr_t)bytes);
        return;
    }
}

void fv_map_guard_remove(const void *bytes) {
    for (size_t i = 0; bytes && i < PLACES; i++) {
        struct place *place = &places[i];
        if (atomic_load(&place->begin) != (uintptr_t)bytes) continue;
        atomic_store(&place->begin, 0);
        atomic_flag_clear(&place->taken);
        return;
    }
}

static const struct place *place_of(uintptr_t address) {
    for (size_t i = 0; i < PLACES; i++) {
        uintptr_t begin = atomic_load(&places[i].begin);
        if (begin && address >= begin && address < atomic_load(&places[i].end)) return &places[i];
    }
    return NULL;
}

/* stat() may be called from a handler. A file that is gone or replaced still has its bytes: the map holds them. */
static bool is_shortened(const struct place *place, const char *path) {
    struct stat info;
    uintptr_t bytes = atomic_load(&place->end) - atomic_load(&place->begin);
    return stat(path, &info) == 0 && (uintmax_t)info.st_size < bytes;
}

/* What would have happened without us: at once, or when the instruction is tried again. */
static void pass_on(int number, siginfo_t *info, void *context) {
    const struct sigaction *before = &guard.before;
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(number, info, context);
    else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN)
        before->sa_handler(number);
    else
        sigaction(number, before, NULL);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    const struct place *place = place_of((uintptr_t)info->si_addr);
    const char *path = place ? atomic_load(&place->path) : NULL;
    if (path && guard.handler) guard.handler(guard.context, path, is_shortened(place, path));
    pass_on(number, info, context);
}

fv_status fv_file_fault_handle(fv_file_fault_fn *handler, void *context) {
    bool installed = guard.handler != NULL;
    if (!handler) {
        if (installed && sigaction(SIGBUS, &guard.before, NULL) != 0) return FV_ERROR_UNSUPPORTED;
        guard.handler = NULL;
        return FV_OK;
    }
    guard.context = context;
    guard.handler = handler;
    if (installed) return FV_OK;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    if (sigaction(SIGBUS, &action, &guard.before) == 0) return FV_OK;
    guard.handler = NULL;
    return FV_ERROR_UNSUPPORTED;
}
