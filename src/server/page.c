/* page.c - files as they are, and what a browser may do with them: no request to anywhere else. */
#include "page.h"
#include <string.h>

static void serve(fv_call *call) {
    const fv_page_file *file = &fv_page_files[call->slot];
    if (call->server->config->no_page)
        fv_reply_error(call->reply, 404, "this server shows no page: clients of OpenAI's API are pointed at /v1");
    else
        fv_reply_text(call->reply, 200, file->type, (const char *)file->bytes, file->length);
}

/* Nothing in it is secret, and it asks for the key itself: it is open. */
static const fv_route route = {"GET", "/", serve, true, true};

const fv_route *fv_page_find(const char *path, uint32_t *number) {
    for (size_t i = 0; i < fv_page_file_count; i++) {
        if (strcmp(fv_page_files[i].path, path) != 0) continue;
        *number = (uint32_t)i;
        return &route;
    }
    return NULL;
}

const char *fv_page_policy(const char *type) {
    if (!type || strncmp(type, "text/html", 9) != 0) return NULL;
    return "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
           "frame-ancestors 'none'";
}
