/* supervisor.c - sd_listen_fds(3) and sd_notify(3). */
#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "supervisor.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FILE = 3 };

static long number_of(const char *variable) {
    const char *text = getenv(variable);
    char *end = NULL;
    long number = text ? strtol(text, &end, 10) : 0;
    return text && end != text && *end == 0 ? number : 0;
}

static int option_of(int file, int option) {
    int value = -1;
    socklen_t bytes = sizeof value;
    return getsockopt(file, SOL_SOCKET, option, &value, &bytes) == 0 ? value : -1;
}

fv_status fv_supervisor_socket(int *made, fv_message *message) {
    long process = number_of("LISTEN_PID"), files = number_of("LISTEN_FDS");
    bool is_ours = process == (long)getpid() && files > 0;
    if (is_ours) {
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
    }
    if (is_ours && files > 1)
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "the service manager handed over %ld sockets, and one server listens on one of them",
                              files);
    if (is_ours && (option_of(FIRST_FILE, SO_TYPE) != SOCK_STREAM || option_of(FIRST_FILE, SO_ACCEPTCONN) != 1))
        return fv_message_set(message, FV_ERROR_ARGUMENT,
                              "what the service manager handed over is no stream socket that listens: Accept=no and "
                              "ListenStream= are needed");
    if (is_ours) (void)fcntl(FIRST_FILE, F_SETFD, FD_CLOEXEC);
    *made = is_ours ? FIRST_FILE : -1;
    return FV_OK;
}

void fv_supervisor_tell(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    if (length < 2 || length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = 0; /* of the abstract name space */
    int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (file < 0) return;
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    (void)sendto(file, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, bytes);
    close(file);
}
