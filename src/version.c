/* version.c - the version that was compiled in. */
#include "fovea/version.h"

uint32_t fv_version_number(void) { return FV_VERSION_NUMBER; }

const char *fv_version(void) { return FV_VERSION_STRING; }
