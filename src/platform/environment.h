/* environment.h - what the environment asks for: FV_ISA, to compare instruction sets without a rebuild. */
#ifndef FV_ENVIRONMENT_H
#define FV_ENVIRONMENT_H

#include "fovea/isa.h"
#include "fovea/message.h"

/* The level that FV_ISA names; FV_ISA_BEST where it is not set or empty. FV_OK, FV_ERROR_ARGUMENT (no level has the
 * name), FV_ERROR_UNSUPPORTED (a level of processors that this build is not for); *isa untouched on error. */
fv_status fv_environment_isa(fv_isa *isa, fv_message *message);

#endif
