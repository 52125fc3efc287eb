/* interrupt.c - the signal handlers. A byte in a pipe goes with each request: whoever waits for input polls both, since
 * any thread may take the signal, and at any moment. */
#include "interrupt.h"
#include "cli.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t requests;
static void (*restore_terminal)(void);
static int wake[2] = {-1, -1}; /* read end, write end */

static void on_interrupt(int signal_number) {
    int saved = errno;
    (void)signal_number;
    if (requests && restore_terminal) restore_terminal();
    if (requests) _exit(CLI_INTERRUPTED);
    requests = 1;
    if (wake[1] >= 0 && write(wake[1], "", 1) < 0) requests = 1; /* full: someone is woken already */
    errno = saved;
}

static void open_pipe(void) {
    if (pipe(wake) != 0) {
        wake[0] = wake[1] = -1; /* without it the second Ctrl-C still works */
        return;
    }
    for (int i = 0; i < 2; i++) {
        fcntl(wake[i], F_SETFL, O_NONBLOCK);
        fcntl(wake[i], F_SETFD, FD_CLOEXEC);
    }
}

/* Who started the program with Ctrl-C ignored (nohup, a shell's background job) does not want it to end by one. */
static bool is_ignored(int signal_number) {
    struct sigaction before;
    return sigaction(signal_number, NULL, &before) == 0 && before.sa_handler == SIG_IGN;
}

void cli_interrupt_install(void) {
    struct sigaction action;
    open_pipe();
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_interrupt; /* no SA_RESTART: a read that waits is to end */
    if (!is_ignored(SIGINT)) sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

void cli_interrupt_on_terminate(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_interrupt;
    sigaction(SIGTERM, &action, NULL);
}

void cli_interrupt_before_exit(void (*restore)(void)) { restore_terminal = restore; }

bool cli_interrupted(void) { return requests != 0; }

bool cli_go_on(void *context) {
    (void)context;
    return !cli_interrupted();
}

void cli_interrupt_clear(void) {
    char byte;
    while (wake[0] >= 0 && read(wake[0], &byte, 1) == 1) continue;
    requests = 0;
}

bool cli_interrupt_wait(int file) {
    struct pollfd files[2] = {{.fd = file, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};
    while (!cli_interrupted()) {
        int ready = poll(files, 2, -1); /* a negative descriptor is passed over */
        if (ready > 0 && files[0].revents) return !cli_interrupted();
        if (ready < 0 && errno != EINTR) return true; /* let the read say what is wrong */
    }
    return false;
}

int cli_interrupt_sleep(int64_t seconds) {
    struct pollfd file = {.fd = wake[0], .events = POLLIN};
    for (; seconds > 0 && !cli_interrupted(); seconds--) (void)poll(&file, 1, 1000);
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_GO_ON;
}
