#include "rank_guard.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const int handed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT};
#define HANDED_ON (sizeof handed_on / sizeof handed_on[0])

static void say_killed(uint32_t rank, int number) {
    char host[128] = "", line[512];
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    int length =
        snprintf(line, sizeof line, "fovea: error: rank %u on %s: was killed by signal %d (%s)%s, and the job ends\n",
                 (unsigned)rank, host[0] ? host : "?", number, strsignal(number),
                 number == SIGKILL ? ", as the kernel does where memory runs out" : "");
    if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0) _exit(1);
}

/* Of a signal that the launcher sent nothing is said: the job ends already. */
static void watch(uint32_t rank, pid_t worker, const sigset_t *signals) {
    bool is_ending = false;
    for (;;) {
        siginfo_t info;
        int status, number = sigwaitinfo(signals, &info);
        if (number < 0) continue;
        if (number != SIGCHLD) {
            is_ending = is_ending || number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT;
            kill(worker, number);
            continue;
        }
        if (waitpid(worker, &status, WNOHANG) != worker) continue;
        if (WIFEXITED(status)) _exit(WEXITSTATUS(status));
        if (!WIFSIGNALED(status)) continue;
        if (!is_ending) say_killed(rank, WTERMSIG(status));
        /* Launchers end a job at a signal; at an exit code not always, while ranks still wait for each other. */
        kill(getpid(), SIGKILL);
    }
}

fv_status fv_rank_guard(uint32_t rank, fv_message *message) {
    sigset_t signals, before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    for (size_t i = 0; i < HANDED_ON; i++) sigaddset(&signals, handed_on[i]);
    sigprocmask(SIG_BLOCK, &signals, &before);
    pid_t first = getpid(), worker = fork();
    if (worker > 0) watch(rank, worker, &signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (worker < 0)
        return fv_message_set(message, FV_ERROR_MEMORY, "no process for rank %u: %s", (unsigned)rank, strerror(errno));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != first) _exit(1);
    return FV_OK;
}
