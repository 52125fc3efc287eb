#include "launcher.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FV_MPI_FOLDER
#define FV_MPI_FOLDER "" /* where modules are installed */
#endif

/* What launchers set, and in which order modules of their MPI are tried. */
static const struct launcher {
    const char *library, *ranks, *rank;
    const char *modules[3];
} launchers[] = {
    {"Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", {"fovea_mpi_openmpi.so", "fovea_mpi.so", NULL}},
    {"MPICH", "PMI_SIZE", "PMI_RANK", {"fovea_mpi_mpich.so", "fovea_mpi.so", NULL}},
    {"PMIx", "SLURM_NTASKS", "PMIX_RANK", {"fovea_mpi_openmpi.so", "fovea_mpi_mpich.so", "fovea_mpi.so"}},
};
#define LAUNCHERS (sizeof launchers / sizeof launchers[0])

static bool number_of(const char *name, uint32_t *number) {
    const char *text = getenv(name);
    char *end;
    if (!text || !text[0]) return false;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || value > FV_WIRE_MOST_RANKS) return false;
    *number = (uint32_t)value;
    return true;
}

static const struct launcher *find(fv_launch *launch) {
    for (size_t i = 0; i < LAUNCHERS; i++) {
        if (!number_of(launchers[i].ranks, &launch->ranks) || !number_of(launchers[i].rank, &launch->rank)) continue;
        launch->library = launchers[i].library;
        return launch->ranks > 1 ? &launchers[i] : NULL;
    }
    return NULL;
}

bool fv_launch_find(fv_launch *launch) { return find(launch) != NULL; }

/* FOLDER/MODULE for i = 0, 1: where the program lies, where modules are installed. */
static bool place_of(char *path, size_t bytes, int i, const char *module) {
    char program[3072];
    if (i == 1) return FV_MPI_FOLDER[0] && snprintf(path, bytes, "%s/%s", FV_MPI_FOLDER, module) < (int)bytes;
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return false;
    program[length] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash) return false;
    *slash = '\0';
    return snprintf(path, bytes, "%s/%s", program, module) < (int)bytes;
}

static fv_status open_module(const char *path, const fv_wire_table **table, fv_message *message) {
    fv_wire_entry *entry;
    /* The plug-ins of an MPI library look for its symbols among the global ones. */
    void *module = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!module) return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s can't be loaded: %s", path, dlerror());
    void *found = dlsym(module, FV_WIRE_ENTRY);
    memcpy(&entry, &found, sizeof entry);
    const fv_wire_table *made = found ? entry() : NULL;
    if (!made || made->version != FV_WIRE_VERSION)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s is of another version of fovea", path);
    *table = made;
    return FV_OK;
}

fv_status fv_launch_load(const fv_launch *launch, const fv_wire_table **table, fv_message *message) {
    char path[4096];
    fv_launch same;
    const struct launcher *launcher = find(&same);
    for (size_t m = 0; launcher && m < 3 && launcher->modules[m]; m++)
        for (int i = 0; i < 2; i++)
            if (place_of(path, sizeof path, i, launcher->modules[m]) && access(path, R_OK) == 0)
                return open_module(path, table, message);
    return fv_message_set(
        message, FV_ERROR_UNSUPPORTED,
        "%s's launcher started %u ranks, but there is no module for it beside the program (%s): build "
        "fovea with -DFV_MPI=ON where that library's headers are installed",
        launch->library, launch->ranks, launcher ? launcher->modules[0] : "?");
}
