/* machine.h - the clock, the peak of memory, the processor's name and instruction set. */
#ifndef FOVEA_MACHINE_H
#define FOVEA_MACHINE_H

#include "fovea/isa.h"
#include <stddef.h>
#include <stdint.h>

uint64_t cli_clock_ns(void);       /* monotonic */
uint64_t cli_clock(void *context); /* the same as an fv_clock_fn; context is not used */

/** Peak resident memory of this process, bytes (VmHWM); 0 if the system does not say. */
uint64_t cli_peak_bytes(void);

/** Physical memory of the machine, bytes; 0 if the system does not say. */
uint64_t cli_memory_bytes(void);

/** Name of the processor as the system gives it, zero-terminated; "unknown" if it does not. */
void cli_processor_name(char *name, size_t bytes);

/** What FV_ISA allows (everything, if it is not set) and what of it this processor and build have. CLI_GO_ON, or
 *  CLI_FAILED for a name that is none. */
int cli_isa_limit(fv_isa *limit, fv_isa *reached);

uint32_t cli_random_seed(void);

#endif
