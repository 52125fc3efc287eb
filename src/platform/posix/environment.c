#include "platform/environment.h"
#include <stdio.h>
#include <stdlib.h>

static fv_status refuse(const char *name, fv_status status, fv_message *message) {
    char known[100] = "";
    size_t length = 0;
    for (uint32_t i = 0; i < FV_ISA_COUNT && length < sizeof known; i++) {
        fv_isa isa;
        const char *other = fv_isa_name((fv_isa)i);
        if (fv_isa_from_name(other, &isa) != FV_OK) continue;
        length += (size_t)snprintf(known + length, sizeof known - length, " %s", other);
    }
    return fv_message_set(message, status,
                          "environment variable FV_ISA=%.32s is no instruction set of this build, which has:%s", name,
                          known);
}

fv_status fv_environment_isa(fv_isa *isa, fv_message *message) {
    const char *name = getenv("FV_ISA");
    fv_isa named = FV_ISA_BEST;
    fv_status status = name && *name ? fv_isa_from_name(name, &named) : FV_OK;
    if (status != FV_OK) return refuse(name, status, message);
    *isa = named;
    return FV_OK;
}
