/* http_library.c - loads libmicrohttpd by the name that the linker would have noted. */
#include "http_library.h"
#include <dlfcn.h>
#include <string.h>

fv_http_library fv_mhd;

fv_status fv_http_library_load(fv_message *message) {
    if (fv_mhd.start_daemon) return FV_OK;
    void *library = dlopen(FV_MICROHTTPD_FILE, RTLD_NOW | RTLD_LOCAL), *found;
    fv_http_library made;
    if (!library)
        return fv_message_set(message, FV_ERROR_UNSUPPORTED,
                              "the server needs %s, which can't be loaded: %s; install it (Debian: libmicrohttpd12)",
                              FV_MICROHTTPD_FILE, dlerror());
#define TAKE(result, name, parameters) \
    found = dlsym(library, "MHD_" #name); \
    if (!found) \
        return fv_message_set(message, FV_ERROR_UNSUPPORTED, "%s has no MHD_%s(): install another release", \
                              FV_MICROHTTPD_FILE, #name); \
    memcpy(&made.name, &found, sizeof found);
    FV_HTTP_LIBRARY_LIST(TAKE)
#undef TAKE
    fv_mhd = made;
    return FV_OK;
}
