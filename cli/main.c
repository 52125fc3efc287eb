/* main.c - finds the verb and runs it. Each verb lives in its own cmd_*.c and has its own help. */
#include "cli.h"
#include "fovea/file_fault.h"
#include "fovea/words.h"
#include "interrupt.h"
#include "options.h"
#include "ranks_option.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} verbs[] = {
    {"run", cmd_run, "text in, text out: completion or conversation"},
    {"serve", cmd_serve, "the same by HTTP, for many at a time"},
    {"read", cmd_read, "reads a document once and keeps it for questions"},
    {"ppl", cmd_ppl, "quality on a text: perplexity, divergence from dense attention"},
    {"eval", cmd_eval, "quality on long documents: questions about hidden facts"},
    {"tune", cmd_tune, "divides a budget over layers and heads, once for a model"},
    {"bench", cmd_bench, "speed of a model"},
    {"inspect", cmd_inspect, "what is in a GGUF file or one of a session, and what memory a context takes"},
    {"tokenize", cmd_tokenize, "text to token ids and back"},
    {"index", cmd_index, "nearest neighbours among vectors: build, search, change"},
};
#define VERBS (sizeof verbs / sizeof verbs[0])

static int print_help(void) {
    cli_print("usage: fovea VERB [flags]\n\n"
              "Runs language models (GGUF) on the processor, with attention that reads what matters.\n\n");
    for (size_t i = 0; i < VERBS; i++) cli_print("  %-10s %s\n", verbs[i].name, verbs[i].about);
    cli_print("\n  fovea VERB --help   the flags of a verb\n"
              "  fovea --version\n\n"
              "example: fovea run -m model.gguf -f document.txt --temp 0\n");
    return CLI_DONE;
}

/* All verbs, `between` and before the last `last` between them. */
static char *verb_names(char *text, size_t bytes, const char *between, const char *last) {
    size_t used = 0;
    for (size_t i = 0; i < VERBS && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s",
                                 i == 0          ? ""
                                 : i + 1 < VERBS ? between
                                                 : last,
                                 verbs[i].name);
    return text;
}

static int unknown_verb(const char *name) {
    char names[256], nearest[32];
    size_t best = fv_words_nearest("--help --version", name, SIZE_MAX, nearest, sizeof nearest);
    fv_words_nearest(verb_names(names, sizeof names, " ", " "), name, best, nearest, sizeof nearest);
    return cli_usage_error("", "unknown verb '%s'; did you mean '%s'?", name, nearest);
}

static int run_verb(int argc, char **argv) {
    char names[256];
    if (argc < 2) return cli_usage_error("", "no verb: %s", verb_names(names, sizeof names, ", ", " or "));
    if (fv_words_find("-h --help --usage help", argv[1], strlen(argv[1])) >= 0) return print_help();
    if (fv_words_find("--version version", argv[1], strlen(argv[1])) >= 0)
        return cli_print("fovea " CLI_VERSION "\n") ? CLI_DONE : CLI_FAILED;
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(argv[1], verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
    return unknown_verb(argv[1]);
}

/* A closed standard descriptor would be given to the next file that is opened, and results would be written into it.
 * Opened for reading only, standard output still fails as it should. */
static void guard_descriptors(void) {
    static const int modes[3] = {O_RDONLY, O_RDONLY, O_WRONLY};
    for (int file = 0; file < 3; file++)
        if (fcntl(file, F_GETFD) < 0 && open("/dev/null", modes[file]) < 0) return;
}

/* In a signal handler. What was written so far is on standard output; what lies in its buffer is not whole. */
static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) _exit(CLI_FAILED);
}

/* Several threads may read the file: one speaks and ends the process, the others wait for that. */
static void on_file_fault(void *context, const char *path, bool shortened) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    (void)context;
    while (atomic_flag_test_and_set(&told)) pause();
    say(isatty(STDERR_FILENO) ? "\nfovea: error: " : "fovea: error: ");
    say(path);
    say(shortened ? ": was shortened while it was in use; run it again when the file is whole\n"
                  : ": can't be read any more: its disk or its network failed\n");
    _exit(CLI_FAILED);
}

int main(int argc, char **argv) {
    guard_descriptors();
    cli_interrupt_install();
    (void)fv_file_fault_handle(on_file_fault, NULL);
#if CLI_HAVE_MPI
    if (fv_crew_launched()) return cli_ranks_main(argc, argv, run_verb);
#endif
    return cli_finish(run_verb(argc, argv));
}
