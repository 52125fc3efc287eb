/* wire_mpi.c - the table of wire.h over MPI-3.1: a module of its own for each MPI library, loaded under that library's
 * launcher. It includes what MPI's header needs and nothing of fovea but the table. */
#include "wire.h"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct mpi_wire {
    MPI_Comm group;
} mpi_wire;

typedef struct mpi_message {
    MPI_Message handle;
    int bytes;
} mpi_message;

static char last_error[FV_WIRE_TEXT_BYTES]; /* a process has one MPI, and one thread at a time calls it */

static bool worked(int code, const char *call) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return true;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) text[0] = '\0';
    for (char *at = text; *at; at++)
        if (*at == '\n') *at = ' ';
    snprintf(last_error, sizeof last_error, "%s: %.200s", call, text[0] ? text : "an error of MPI");
    return false;
}

static const char *wire_error(void *context) {
    (void)context;
    return last_error;
}

static bool start_library(void) {
    int is_started = 0, threads = 0;
    if (!worked(MPI_Initialized(&is_started), "MPI_Initialized")) return false;
    if (!is_started && !worked(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &threads), "MPI_Init_thread"))
        return false;
    if (!worked(MPI_Query_thread(&threads), "MPI_Query_thread")) return false;
    if (threads >= MPI_THREAD_SERIALIZED) return true;
    snprintf(last_error, sizeof last_error, "this MPI library was built without threads (MPI_THREAD_SERIALIZED)");
    return false;
}

static bool wire_start(void **context, fv_wire_self *self) {
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int rank = 0, ranks = 0, length = 0;
    if (!start_library()) return false;
    mpi_wire *wire = malloc(sizeof *wire);
    if (!wire) {
        snprintf(last_error, sizeof last_error, "out of memory");
        return false;
    }
    /* A communicator of its own: no message of anybody else's is met. */
    bool ok = worked(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler") &&
              worked(MPI_Comm_dup(MPI_COMM_WORLD, &wire->group), "MPI_Comm_dup") &&
              worked(MPI_Comm_set_errhandler(wire->group, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler") &&
              worked(MPI_Comm_rank(wire->group, &rank), "MPI_Comm_rank") &&
              worked(MPI_Comm_size(wire->group, &ranks), "MPI_Comm_size") &&
              worked(MPI_Get_processor_name(host, &length), "MPI_Get_processor_name");
    if (!ok) {
        free(wire);
        return false;
    }
    self->rank = (uint32_t)rank;
    self->ranks = (uint32_t)ranks;
    snprintf(self->host, sizeof self->host, "%.*s", (int)sizeof self->host - 1, host);
    *context = wire;
    return true;
}

static void *request_new(MPI_Request **request) {
    *request = malloc(sizeof **request);
    if (!*request) snprintf(last_error, sizeof last_error, "out of memory for a message");
    return *request;
}

static bool wire_send(void *context, uint32_t to, fv_wire_channel channel, const void *bytes, size_t size,
                      void **request) {
    const mpi_wire *wire = context;
    MPI_Request *made;
    if (!request_new(&made)) return false;
    if (!worked(MPI_Issend(bytes, (int)size, MPI_BYTE, (int)to, (int)channel, wire->group, made), "MPI_Issend")) {
        free(made);
        return false;
    }
    *request = made;
    return true;
}

static bool wire_arrived(void *context, fv_wire_channel channel, uint32_t *from, size_t *size, void **message) {
    const mpi_wire *wire = context;
    MPI_Message handle;
    MPI_Status status;
    int is_there = 0, bytes = 0;
    *message = NULL;
    if (!worked(MPI_Improbe(MPI_ANY_SOURCE, (int)channel, wire->group, &is_there, &handle, &status), "MPI_Improbe"))
        return false;
    if (!is_there) return true;
    if (!worked(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count")) return false;
    mpi_message *made = malloc(sizeof *made);
    if (!made || bytes < 0 || status.MPI_SOURCE < 0) {
        snprintf(last_error, sizeof last_error, made ? "a message without a length" : "out of memory for a message");
        free(made);
        return false;
    }
    *made = (mpi_message){handle, bytes};
    *from = (uint32_t)status.MPI_SOURCE;
    *size = (size_t)bytes;
    *message = made;
    return true;
}

static bool wire_take(void *context, void *message, void *bytes, size_t size, void **request) {
    mpi_message *taken = message;
    MPI_Request *made;
    (void)context;
    if (!request_new(&made)) return false;
    bool ok = size == (size_t)taken->bytes &&
              worked(MPI_Imrecv(bytes, taken->bytes, MPI_BYTE, &taken->handle, made), "MPI_Imrecv");
    if (ok)
        *request = made;
    else
        free(made);
    free(taken);
    return ok;
}

static bool wire_done(void *context, void *request, bool *done) {
    int is_done = 0;
    (void)context;
    bool ok = worked(MPI_Test(request, &is_done, MPI_STATUS_IGNORE), "MPI_Test");
    *done = ok && is_done;
    if (*done) free(request);
    return ok;
}

static void wire_end_all(void *context, int code) {
    const mpi_wire *wire = context;
    MPI_Abort(wire ? wire->group : MPI_COMM_WORLD, code);
}

static void wire_finish(void *context) {
    mpi_wire *wire = context;
    if (wire) MPI_Comm_free(&wire->group);
    free(wire);
    MPI_Finalize();
}

#if defined(OPEN_MPI)
#define MPI_NAME "Open MPI"
#elif defined(MPICH_NAME)
#define MPI_NAME "MPICH"
#else
#define MPI_NAME "MPI"
#endif

const fv_wire_table *fv_wire_module(void);
const fv_wire_table *fv_wire_module(void) {
    static const fv_wire_table table = {FV_WIRE_VERSION, MPI_NAME,  wire_start, wire_send,    wire_arrived,
                                        wire_take,       wire_done, wire_error, wire_end_all, wire_finish};
    return &table;
}
