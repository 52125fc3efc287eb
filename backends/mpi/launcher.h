/* launcher.h - whether mpirun or its like started this process, by what it left in the environment, and the module that
 * speaks the launcher's MPI. Nothing of MPI is loaded before. */
#ifndef FV_LAUNCHER_H
#define FV_LAUNCHER_H

#include "fovea/message.h"
#include "wire.h"

typedef struct fv_launch {
    const char *library;  /* "MPICH": which MPI it belongs to */
    uint32_t rank, ranks; /* as it says; the library's word counts later */
} fv_launch;

/** false: this process was started by itself, or as the only one. */
bool fv_launch_find(fv_launch *launch);

/** Loads the module: beside the program, or from where it was installed. FV_OK, FV_ERROR_UNSUPPORTED with what is
 * missing. *table untouched on error. */
fv_status fv_launch_load(const fv_launch *launch, const fv_wire_table **table, fv_message *message);

#endif
