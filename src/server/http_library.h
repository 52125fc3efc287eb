/* http_library.h - libmicrohttpd, loaded when a server starts: with what it needs for TLS it takes 2.5 MB of memory and
 * is initialised when it is loaded, which is nothing to do with the other verbs of the program. */
#ifndef FV_HTTP_LIBRARY_H
#define FV_HTTP_LIBRARY_H

#include "fovea/message.h"
#include <microhttpd.h>

typedef struct MHD_Connection fv_mhd_connection;
typedef struct MHD_Response fv_mhd_response;

/* Its functions that are used here, without their prefix MHD_. */
#define FV_HTTP_LIBRARY_LIST(X) \
    X(struct MHD_Daemon *, start_daemon, \
      (unsigned flags, uint16_t port, MHD_AcceptPolicyCallback accept, void *accept_context, \
       MHD_AccessHandlerCallback handler, void *handler_context, ...)) \
    X(void, stop_daemon, (struct MHD_Daemon * daemon)) \
    X(MHD_socket, quiesce_daemon, (struct MHD_Daemon * daemon)) \
    X(enum MHD_Result, is_feature_supported, (enum MHD_FEATURE feature)) \
    X(const union MHD_ConnectionInfo *, get_connection_info, \
      (fv_mhd_connection * connection, enum MHD_ConnectionInfoType type, ...)) \
    X(const char *, lookup_connection_value, \
      (fv_mhd_connection * connection, enum MHD_ValueKind kind, const char *key)) \
    X(enum MHD_Result, queue_response, (fv_mhd_connection * connection, unsigned status, fv_mhd_response *response)) \
    X(void, suspend_connection, (fv_mhd_connection * connection)) \
    X(void, resume_connection, (fv_mhd_connection * connection)) \
    X(fv_mhd_response *, create_response_from_buffer, (size_t size, void *bytes, enum MHD_ResponseMemoryMode mode)) \
    X(fv_mhd_response *, create_response_from_callback, \
      (uint64_t size, size_t block_bytes, MHD_ContentReaderCallback read, void *context, \
       MHD_ContentReaderFreeCallback end)) \
    X(enum MHD_Result, add_response_header, (fv_mhd_response * response, const char *header, const char *content)) \
    X(void, destroy_response, (fv_mhd_response * response))

typedef struct fv_http_library {
#define FV_HTTP_LIBRARY_FIELD(result, name, parameters) result(*name) parameters;
    FV_HTTP_LIBRARY_LIST(FV_HTTP_LIBRARY_FIELD)
#undef FV_HTTP_LIBRARY_FIELD
} fv_http_library;

extern fv_http_library fv_mhd; /* filled by the first fv_http_library_load(), for good */

/* returns FV_OK, FV_ERROR_UNSUPPORTED (it is not there, or is another release). Call it from one thread at a time. */
fv_status fv_http_library_load(fv_message *message);

#endif
