/* process_limits.h - what a process may use, read from a tree of files that tests can make. Hosted. */
#ifndef FV_PROCESS_LIMITS_H
#define FV_PROCESS_LIMITS_H

#include "fovea/machine.h"

/**
 * root     where /proc and /sys lie: "" of this system.
 * allowed  processors that affinity allows; 0: those of the calling thread.
 * limits   out; what a file does not say, or says in another form, limits nothing.
 */
void fv_process_limits_read(const char *root, uint32_t allowed, fv_machine_limits *limits);

#endif
