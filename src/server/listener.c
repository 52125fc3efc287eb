/* listener.c - a socket that was handed over; else TCP by name and port, or a UNIX socket in the place of one that
 * nobody listens to any more. */
#include "listener.h"
#include "supervisor.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128 };

static bool is_socket_path(const char *host) {
    size_t length = strlen(host);
    return length > 5 && strcmp(host + length - 5, ".sock") == 0;
}

static fv_status fail(int socket_file, const char *what, fv_message *message) {
    int reason = errno;
    if (socket_file >= 0) close(socket_file);
    return fv_message_set(message, FV_ERROR_FILE, "can't listen on %s: %s%s", what, strerror(reason),
                          reason == EADDRINUSE ? "; another program has it: stop that one, or take another port" : "");
}

/* ---- UNIX ---- */

/* A socket that a server left without removing it. */
static void remove_left(const struct sockaddr_un *address) {
    struct stat status;
    if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) return;
    int probe = socket(AF_UNIX, SOCK_STREAM, 0);
    if (probe < 0) return;
    if (connect(probe, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(probe);
}

static fv_status open_unix(fv_server *server, const char *path, fv_message *message) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return fv_message_set(message, FV_ERROR_FILE, "the path of a UNIX socket has at most %zu bytes: %s",
                              sizeof address.sun_path - 1, path);
    strcpy(address.sun_path, path);
    int made = socket(AF_UNIX, SOCK_STREAM, 0);
    if (made < 0) return fail(made, path, message);
    remove_left(&address);
    if (bind(made, (const struct sockaddr *)&address, sizeof address) != 0 || listen(made, BACKLOG) != 0)
        return fail(made, path, message);
    server->listener = made;
    server->socket_path = path;
    snprintf(server->url, sizeof server->url, "unix:%s", path);
    return FV_OK;
}

/* ---- TCP ---- */

/* host: as it was asked for; NULL: as the socket says. */
static void url_make(fv_server *server, const char *host) {
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    char port[NI_MAXSERV] = "0", name[NI_MAXHOST] = "";
    if (getsockname(server->listener, (struct sockaddr *)&address, &bytes) == 0)
        (void)getnameinfo((const struct sockaddr *)&address, bytes, name, sizeof name, port, sizeof port,
                          NI_NUMERICSERV | NI_NUMERICHOST);
    if (!host) host = name;
    bool v6 = strchr(host, ':') != NULL;
    snprintf(server->url, sizeof server->url, "http%s://%s%s%s:%s%s", server->config->tls_key ? "s" : "", v6 ? "[" : "",
             host, v6 ? "]" : "", port, server->config->prefix);
}

static int bind_one(const struct addrinfo *at) {
    int yes = 1, made = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
    if (made < 0) return made;
    (void)setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(made, at->ai_addr, at->ai_addrlen) == 0 && listen(made, BACKLOG) == 0) return made;
    int reason = errno;
    close(made);
    errno = reason;
    return -1;
}

static fv_status open_tcp(fv_server *server, const char *host, fv_message *message) {
    const struct addrinfo wanted = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[16], where[300];
    snprintf(port, sizeof port, "%u", server->config->port);
    snprintf(where, sizeof where, "%.256s port %s", host, port);
    int fault = getaddrinfo(host, port, &wanted, &found);
    if (fault != 0) return fv_message_set(message, FV_ERROR_FILE, "can't listen on %s: %s", where, gai_strerror(fault));
    int made = -1;
    for (const struct addrinfo *at = found; at && made < 0; at = at->ai_next) made = bind_one(at);
    freeaddrinfo(found);
    if (made < 0) return fail(made, where, message);
    server->listener = made;
    url_make(server, host);
    return FV_OK;
}

/* ---- what a service manager listens on ---- */

static void take_socket(fv_server *server, int handed) {
    struct sockaddr_un address = {0};
    socklen_t bytes = sizeof address;
    server->listener = handed;
    bool is_path = getsockname(handed, (struct sockaddr *)&address, &bytes) == 0 && address.sun_family == AF_UNIX;
    if (is_path) /* the file is the manager's: it stays */
        snprintf(server->url, sizeof server->url, "unix:%.*s", (int)sizeof address.sun_path, address.sun_path);
    else
        url_make(server, NULL);
}

fv_status fv_listener_open(fv_server *server, fv_message *message) {
    const char *host = server->config->host;
    int handed = -1;
    fv_status status = fv_supervisor_socket(&handed, message);
    if (status != FV_OK) return status;
    if (handed >= 0) {
        take_socket(server, handed);
        return FV_OK;
    }
    return is_socket_path(host) ? open_unix(server, host, message) : open_tcp(server, host, message);
}

void fv_listener_remove(fv_server *server) {
    if (server->socket_path) unlink(server->socket_path);
    server->socket_path = NULL;
}
