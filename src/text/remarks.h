/* remarks.h - sentences about what is odd in a file although it can be used. */
#ifndef FV_REMARKS_H
#define FV_REMARKS_H

#include "fovea/message.h"
#include <stddef.h>

/* Start from {0}. */
typedef struct fv_remarks {
    fv_message *items;
    size_t count, capacity;
} fv_remarks;

/* FV_OK or FV_ERROR_MEMORY. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
fv_status
fv_remarks_add(fv_remarks *remarks, const char *format, ...);
void fv_remarks_free(fv_remarks *remarks);

#endif
