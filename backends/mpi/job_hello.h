/* job_hello.h - what ranks tell each other first: that they run the same program on processors of one kind, and where.
 */
#ifndef FV_JOB_HELLO_H
#define FV_JOB_HELLO_H

#include "mailbox.h"

typedef struct fv_hello {
    char version[32];
    uint32_t sizes[4]; /* of pointers, of what travels; and a number whose bytes lie in this processor's order */
    uint32_t rank, ranks;
    uint32_t isa; /* fv_isa in use there */
    uint64_t timeout_ns, seed;
    char host[FV_WIRE_HOST_BYTES];
} fv_hello;

void fv_hello_make(fv_hello *hello, const fv_wire_self *self, uint64_t timeout_ns);

/** NULL: the letter is a hello of a rank that this one can work with; else what is wrong with it. hello: out. */
const char *fv_hello_check(fv_hello *hello, const fv_letter *letter, const fv_wire_self *self);

#endif
