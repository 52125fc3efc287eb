/* machine.h - facts about this process and this machine: clock, memory, processor, instruction set. Hosted. Every call
 * may be made from any thread. */
#ifndef FOVEA_MACHINE_H
#define FOVEA_MACHINE_H

#include "fovea/api.h"
#include "fovea/isa.h"
#include "fovea/message.h"
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Nanoseconds since an arbitrary moment, never falling; 0 if the system has no such clock. */
FV_API uint64_t fv_machine_clock_ns(void);

/** The same as an fv_clock_fn, for fv_session_time() and deadlines. `context` is not used. */
FV_API uint64_t fv_machine_clock(void *context);

/** Peak resident memory of this process, bytes; 0 if the system does not say. */
FV_API uint64_t fv_machine_peak_bytes(void);

/** Physical memory of the machine, bytes; 0 if the system does not say. */
FV_API uint64_t fv_machine_memory_bytes(void);

/* X(NAME, name): what makes less of the machine usable. */
#define FV_LIMIT_LIST(X) X(NONE, "machine") X(AFFINITY, "affinity") X(QUOTA, "quota") X(GROUP, "control group")
#define FV_LIMIT_ENUM(NAME, name) FV_LIMIT_##NAME,
typedef enum fv_machine_limit { FV_LIMIT_LIST(FV_LIMIT_ENUM) FV_LIMIT_COUNT } fv_machine_limit;
#undef FV_LIMIT_ENUM

/** What this process may use of the machine. */
typedef struct fv_machine_limits {
    uint32_t processors;        /* that its threads may use at the same time, a quota's fraction rounded up; >= 1 */
    uint32_t processors_online; /* of the machine, >= processors */
    uint32_t processors_by;     /* fv_machine_limit: NONE, AFFINITY or QUOTA (of a control group, v1 or v2) */
    uint32_t memory_by;         /* likewise: NONE or GROUP */
    uint64_t memory_bytes;      /* that it may take; 0: the system does not say */
    uint64_t swap_bytes;        /* beyond them */
} fv_machine_limits;

/** Reads them again on each call: affinity of the calling thread, the control groups of the process and all above
 *  them. A limit that can't be read is none. O(files). */
FV_API void fv_machine_limits_read(fv_machine_limits *limits);

FV_API const char *fv_machine_limit_name(uint32_t limit); /* "quota"; static; NULL for an unknown one */

/** Name of the processor as the system gives it, cut to `bytes` (>= 1) and zero-terminated; "unknown" if it gives
 *  none. */
FV_API void fv_machine_processor_name(char *name, size_t bytes);

/**
 * The instruction sets of this process.
 *
 * limit    out: what the environment variable FV_ISA allows; FV_ISA_BEST if it is not set.
 * reached  out: the best set within that limit that this processor and this build have.
 * returns  FV_OK, FV_ERROR_ARGUMENT (FV_ISA names no instruction set), FV_ERROR_UNSUPPORTED (one of processors that
 * this build is not for); the message says which there are. Outputs untouched on error.
 */
FV_API fv_status fv_machine_isa(fv_isa *limit, fv_isa *reached, fv_message *message);

/** 32 random bits from the system; from clock and process number where it has none. Not for secrets. */
FV_API uint32_t fv_machine_seed(void);

#ifdef __cplusplus
}
#endif

#endif
