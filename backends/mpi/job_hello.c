#include "job_hello.h"
#include "fovea/machine.h"
#include "fovea/version.h"
#include <stdio.h>
#include <string.h>

void fv_hello_make(fv_hello *hello, const fv_wire_self *self, uint64_t timeout_ns) {
    memset(hello, 0, sizeof *hello);
    snprintf(hello->version, sizeof hello->version, "%s", FV_VERSION_STRING);
    hello->sizes[0] = (uint32_t)sizeof(void *);
    hello->sizes[1] = FV_WIRE_VERSION;
    hello->sizes[2] = FV_ABI_VERSION;
    hello->sizes[3] = 0x01020304u;
    hello->rank = self->rank;
    hello->ranks = self->ranks;
    fv_isa limit, reached = FV_ISA_SCALAR;
    (void)fv_machine_isa(&limit, &reached, NULL); /* an FV_ISA that is none is told when a model is opened */
    hello->isa = reached;
    hello->timeout_ns = timeout_ns;
    hello->seed = fv_machine_seed();
    memcpy(hello->host, self->host, sizeof hello->host);
}

const char *fv_hello_check(fv_hello *hello, const fv_letter *letter, const fv_wire_self *self) {
    fv_hello own;
    if (letter->length != sizeof *hello) return "is of another version of fovea";
    memcpy(hello, letter->bytes, sizeof *hello);
    fv_hello_make(&own, self, 0);
    if (memchr(hello->version, '\0', sizeof hello->version) == NULL || strcmp(hello->version, own.version) != 0)
        return "is of another version of fovea";
    if (memcmp(hello->sizes, own.sizes, sizeof own.sizes) != 0) return "comes from another kind of processor or build";
    if (hello->rank != letter->from || hello->ranks != self->ranks) return "comes from another job";
    if (memchr(hello->host, '\0', sizeof hello->host) == NULL) return "has a host name without an end";
    for (char *at = hello->host; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127) *at = '?';
    return NULL;
}
