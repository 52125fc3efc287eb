/* machine.h - the clock, the peak of memory and the processor's name. */
#ifndef FOVEA_MACHINE_H
#define FOVEA_MACHINE_H

#include <stddef.h>
#include <stdint.h>

uint64_t cli_clock_ns(void); /* monotonic */

/** Peak resident memory of this process, bytes (VmHWM); 0 if the system does not say. */
uint64_t cli_peak_bytes(void);

/** Name of the processor as the system gives it, zero-terminated; "unknown" if it does not. */
void cli_processor_name(char *name, size_t bytes);

uint32_t cli_random_seed(void);

#endif
