/* access_log.c - a line is written at once, by the thread of HTTP. */
#include "access_log.h"
#include "fovea/machine.h"
#include "http_library.h"
#include <netdb.h>
#include <string.h>
#include <time.h>

void fv_access_begin(fv_access *access, const char *method, const char *path, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info = fv_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    *access = (fv_access){.began_ns = fv_machine_clock_ns()};
    strncpy(access->method, method, sizeof access->method - 1);
    strncpy(access->path, path, sizeof access->path - 1);
    socklen_t bytes =
        address && address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (!address || (address->sa_family != AF_INET && address->sa_family != AF_INET6) ||
        getnameinfo(address, bytes, access->client, sizeof access->client, NULL, 0, NI_NUMERICHOST) != 0)
        strcpy(access->client, "local");
}

void fv_access_write(const fv_access *access, fv_reply *reply, bool complete, FILE *file) {
    char when[32] = "";
    time_t now = time(NULL);
    struct tm parts;
    fv_text text = {0};
    if (gmtime_r(&now, &parts)) strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    pthread_mutex_lock(&reply->lock);
    json_t *line = json_pack("{s:s, s:o, s:o, s:o, s:i, s:b, s:I, s:f, s:I, s:I, s:I}", "time", when, "client",
                             fv_json_string(access->client, strlen(access->client)), "method",
                             fv_json_string(access->method, strlen(access->method)), "path",
                             fv_json_string(access->path, strlen(access->path)), "status", (int)access->status,
                             "complete", complete, "bytes", (json_int_t)reply->sent, "ms",
                             (double)(fv_machine_clock_ns() - access->began_ns) * 1e-6, "prompt_tokens",
                             (json_int_t)reply->prompt_tokens, "cached_tokens", (json_int_t)reply->cached_tokens,
                             "completion_tokens", (json_int_t)reply->answer_tokens);
    pthread_mutex_unlock(&reply->lock);
    if (fv_json_write(line, &text) == FV_OK && fv_text_append(&text, "\n", 1) == FV_OK) {
        (void)fwrite(text.bytes, 1, text.length, file);
        (void)fflush(file);
    }
    fv_text_free(&text);
}
