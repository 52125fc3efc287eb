/* cmd_bench_machine.c - `fovea bench machine`: what this machine can do at most, by one thread and by all. */
#include "cli.h"
#include "fovea/machine.h"
#include "fovea/peaks.h"
#include "fovea/pool.h"
#include "interrupt.h"
#include "json_out.h"
#include "model_options.h"
#include "options.h"
#include <math.h>

typedef struct machine_options {
    int64_t threads;
    cli_thread_options placement;
    bool json;
} machine_options;

#define CLI_TARGET machine_options
static const cli_option machine_flags[] = {
    CLI_FLAG(INTEGER, "-t --threads", threads, .env = "LLAMA_ARG_THREADS", .low = -1, .high = 1024,
             .note = "one per processor", .help = "threads of the second column"),
    CLI_FLAG(SWITCH, "--json", json, .help = "one JSON document"),
};

/* X(name, text, unit): the lines, in the order in which they are measured. */
#define MACHINE_LINES(X) \
    X(f32_gflops, "f32 multiply-add", "GFLOP/s") \
    X(bf16_gflops, "bf16 dot product", "GFLOP/s") \
    X(int8_gops, "int8 dot product", "GOP/s") \
    X(l1_gb_per_s, "read, L1 cache", "GB/s") \
    X(l2_gb_per_s, "read, L2 cache", "GB/s") \
    X(l3_gb_per_s, "read, L3 cache", "GB/s") \
    X(dram_gb_per_s, "read, main memory", "GB/s")
#define MACHINE_ENUM(name, text, unit) LINE_##name,
#define MACHINE_LINE(name, text, unit) {#name, text, unit},
enum machine_line { MACHINE_LINES(MACHINE_ENUM) LINES, LINE_CACHE = LINE_l1_gb_per_s };
static const struct { const char *name, *text, *unit; } lines[LINES] = {MACHINE_LINES(MACHINE_LINE)};

typedef struct machine_column {
    uint32_t threads;
    double figures[LINES]; /* NAN: this processor has no such instruction */
} machine_column;

static int measure_column(fv_isa limit, int64_t threads, const machine_options *options, machine_column *column) {
    fv_pool *pool = NULL;
    fv_status status = FV_OK;
    int result = cli_pool_open(&pool, "bench machine", threads, &options->placement);
    if (result != CLI_GO_ON) return result;
    const fv_parallel *parallel = fv_pool_parallel(pool);
    column->threads = parallel->workers;
    for (int line = 0; line < LINES && result == CLI_GO_ON; line++) {
        double *figure = &column->figures[line];
        *figure = NAN;
        status = line < LINE_CACHE
                     ? fv_peak_operations(limit, (fv_peak)line, parallel, figure)
                     : fv_peak_read(limit, fv_peak_read_bytes((uint32_t)(line - LINE_CACHE) + 1, parallel), parallel,
                                    figure);
        if (status != FV_OK && status != FV_ERROR_UNSUPPORTED) result = cli_outcome(status, NULL);
        if (cli_interrupted()) result = CLI_INTERRUPTED;
    }
    fv_pool_close(pool);
    return result;
}

static int print_json(const char *processor, fv_isa isa, const machine_column *columns, size_t count) {
    json_t *document = json_object(), *measured = json_array();
    CLI_ADD(document, {"cpu_info", cli_text(processor)}, {"isa", cli_text(fv_isa_name(isa))},
            {"l1_bytes", cli_count(fv_peak_cache_bytes(1))}, {"l2_bytes", cli_count(fv_peak_cache_bytes(2))},
            {"l3_bytes", cli_count(fv_peak_cache_bytes(3))}, {"dram_bytes", cli_count(fv_peak_memory_bytes())});
    for (size_t i = 0; i < count; i++) {
        json_t *column = json_object();
        cli_json_set(column, "threads", cli_count(columns[i].threads));
        for (size_t line = 0; line < LINES; line++)
            cli_json_set(column, lines[line].name, cli_real(columns[i].figures[line]));
        cli_json_append(measured, column);
    }
    cli_json_set(document, "measured", measured);
    return cli_json_print(document);
}

static int print_text(const char *processor, fv_isa isa, const machine_column *columns, size_t count) {
    cli_print("%s, %s; caches %zu KiB, %zu KiB, %zu MiB\n%-20s", processor, fv_isa_name(isa),
              fv_peak_cache_bytes(1) >> 10, fv_peak_cache_bytes(2) >> 10, fv_peak_cache_bytes(3) >> 20, "threads");
    for (size_t i = 0; i < count; i++) cli_print(" %10u", (unsigned)columns[i].threads);
    bool good = cli_write("\n", 1);
    for (size_t line = 0; line < LINES; line++) {
        cli_print("%-20s", lines[line].text);
        for (size_t i = 0; i < count; i++)
            if (isnan(columns[i].figures[line]))
                cli_print(" %10s", "-");
            else
                cli_print(" %10.1f", columns[i].figures[line]);
        good = cli_print(" %s\n", lines[line].unit);
    }
    return good ? CLI_DONE : CLI_FAILED;
}

int cmd_bench_machine(int argc, char **argv) {
    machine_options options = {.threads = -1, .placement = cli_thread_options_default()};
    options.placement.pool.strict =
        1; /* on a busy machine the system may run two threads on one processor for seconds */
    const cli_option_group groups[] = {
        CLI_GROUP("flags", machine_flags, &options),
        CLI_COUNTED("where threads run", cli_thread_flags, &options.placement),
    };
    const cli_syntax syntax = {"bench machine", "[flags]",
                               "Measures what this machine can do at most: products a second, bytes a second from each "
                               "memory. The best of short\n"
                               "runs, each thread on a processor of its own; FV_ISA limits the instruction set. Half "
                               "of each cache is read, and of main "
                               "memory 4 times the last cache.",
                               CLI_GROUPS(groups)};
    machine_column columns[2];
    size_t count = 1;
    fv_isa limit, isa;
    fv_message message = {""};
    char processor[256];
    int result = cli_options_parse(&syntax, argc, argv);
    if (result == CLI_GO_ON) result = cli_outcome(fv_machine_isa(&limit, &isa, &message), &message);
    if (result == CLI_GO_ON) result = measure_column(limit, 1, &options, &columns[0]);
    if (result == CLI_GO_ON) result = measure_column(limit, options.threads, &options, &columns[1]);
    if (result != CLI_GO_ON) return result;
    if (columns[1].threads > 1) count = 2;
    fv_machine_processor_name(processor, sizeof processor);
    return options.json ? print_json(processor, isa, columns, count) : print_text(processor, isa, columns, count);
}
