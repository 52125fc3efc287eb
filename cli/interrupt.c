/* interrupt.c - the signal handlers. Reads are interrupted on purpose (no SA_RESTART): a prompt that waits for a line
 * must notice Ctrl-C. */
#include "interrupt.h"
#include "cli.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t requests;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (requests) _exit(CLI_INTERRUPTED);
    requests = 1;
}

void cli_interrupt_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

bool cli_interrupted(void) { return requests != 0; }

void cli_interrupt_clear(void) { requests = 0; }
