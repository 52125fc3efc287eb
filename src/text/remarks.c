/* remarks.c - see remarks.h. */
#include "text/remarks.h"
#include "platform/array.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

fv_status fv_remarks_add(fv_remarks *remarks, const char *format, ...) {
    char text[FV_MESSAGE_BYTES];
    va_list arguments;
    void *items = fv_array_reserve(remarks->items, &remarks->capacity, remarks->count, 1, sizeof *remarks->items);
    if (!items) return FV_ERROR_MEMORY;
    remarks->items = items;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return fv_message_set(&remarks->items[remarks->count++], FV_OK, "%s", text);
}

void fv_remarks_free(fv_remarks *remarks) {
    free(remarks->items);
    *remarks = (fv_remarks){0};
}
