/* cmd_index.c - `fovea index`: makes, searches, changes, shows and measures indexes of vectors. */
#include "fovea/index.h"
#include "fovea/machine.h"
#include "fovea/vector_file.h"
#include "json_out.h"
#include "model_options.h"
#include "progress.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct index_options {
    const char *first, *second; /* files */
    const char *out, *labels, *truth, *filter, *labels_out, *distances_out;
    uint32_t metric, rows, refine;
    int kind;
    uint32_t degree, build_beam, k; /* degree: 32 each; 0: automatic */
    int64_t beam, seed, threads;
    double recall;
    bool lean, check, json;
} index_options;

enum { KIND_AUTO, KIND_FLAT, KIND_GRAPH };

static const struct row_type {
    const char *name;
    uint32_t type;
} row_types[] = {{"f32", FV_INDEX_F32},
                 {"f16", FV_INDEX_F16},
                 {"bf16", FV_INDEX_BF16},
                 {"q8", FV_INDEX_Q8},
                 {"q7", 7},
                 {"q6", 6},
                 {"q5", 5},
                 {"q4", FV_INDEX_Q4},
                 {"q3", 3},
                 {"q2", 2}};

#define CLI_TARGET index_options
static const cli_option build_flags[] = {
    CLI_FLAG(TEXT, "-o --output", out, .value = "FILE", .help = "build: the index"),
    CLI_FLAG(CHOICE, "--metric", metric, .value = "NAME", .choices = "l2 ip cosine",
             .help = "build: l2, ip (inner product) or cosine"),
    CLI_FLAG(
        CHOICE, "--kind", kind, .value = "NAME", .choices = "auto flat graph",
        .help = "build: flat scans codes of all vectors; graph walks from neighbour to\nneighbour; auto: a graph if it "
                "is measured to be less work at a recall of 0.95"),
    CLI_FLAG(CHOICE, "--rows", rows, .value = "NAME", .choices = "f32 f16 bf16 q8 q7 q6 q5 q4 q3 q2",
             .help = "build: what vectors are kept as; q8 to q2: codes of so many bits a channel"),
    CLI_FLAG(U32, "--refine", refine, .low = 0, .high = 8,
             .help = "build: bits of a second code that scans refine by, 2 to 8; 0: none"),
    CLI_FLAG(SWITCH, "--lean", lean, .help = "build: a graph without codes of neighbours: less memory, and slower"),
    CLI_FLAG(CHOICE, "-R --degree", degree, .value = "N|auto", .choices = "auto 32 64 96 128 160 192 224 256",
             .help =
                 "build: neighbours of each vector of a graph; auto: 32, or 64 of many vectors that\nspread in many "
                 "directions, as a sample of them shows"),
    CLI_FLAG(U32, "--build-ef", build_beam, .low = 1, .high = FV_INDEX_BEAM,
             .help = "build: beam of the walks that look for neighbours"),
    CLI_FLAG(INTEGER, "--seed", seed, .low = 0, .high = CLI_SEED_MAX, .help = "build: of the rotation of vectors"),
    CLI_FLAG(TEXT, "--labels", labels, .value = "FILE",
             .help = "build, insert, update: labels (default: the numbers of the rows)"),
};
static const cli_option search_flags[] = {
    CLI_FLAG(U32, "-k --top-k", k, .low = 1, .high = CLI_COUNT_MAX, .help = "results of a query"),
    CLI_FLAG(INTEGER, "--ef", beam, .low = 0, .high = FV_INDEX_BEAM, .standard = "",
             .help = "beam of walks over a graph, in place of --recall; 0: scan all codes"),
    CLI_FLAG(
        REAL, "--recall", recall, .low = 0.01, .high = 1,
        .help =
            "share of the nearest to be found, by walks if they are less work than a scan,\nas was measured when the "
            "graph was made"),
    CLI_FLAG(TEXT, "--filter", filter, .value = "FILE",
             .help = "labels that may be found: .npy of bools, or bits, label 0 the lowest of the\nfirst byte"),
    CLI_FLAG(TEXT, "--labels-out", labels_out, .value = "FILE", .help = "search: write labels, .npy [queries][k]"),
    CLI_FLAG(TEXT, "--distances-out", distances_out, .value = "FILE", .help = "search: write distances, likewise"),
    CLI_FLAG(TEXT, "--truth", truth, .value = "FILE", .help = "bench: the labels of the nearest, nearest first"),
};
static const cli_option common_flags[] = {
    CLI_FLAG(INTEGER, "-t --threads", threads, .low = -1, .high = 1024, .standard = "",
             .help = "threads; default: all"),
    CLI_FLAG(SWITCH, "--check", check, .help = "inspect: read all of it, too"),
    CLI_FLAG(SWITCH, "--json", json, .help = "one JSON document"),
};

typedef struct index_state {
    const index_options *options;
    fv_index *index;
    fv_pool *pool;
    fv_vectors vectors;
    fv_labels labels, filter, truth;
} index_state;

/* One that no index has where it is too large to tell. */
static uint32_t dimension_of(const fv_vectors *vectors) {
    return vectors->dimension > FV_INDEX_DIMENSIONS ? UINT32_MAX : (uint32_t)vectors->dimension;
}

static double seconds_since(uint64_t start_ns) { return (double)(fv_machine_clock_ns() - start_ns) * 1e-9; }

static fv_index_info info_of(const index_state *state) {
    fv_index_info info;
    fv_index_info_get(state->index, &info);
    return info;
}

static const char *kind_name(const fv_index_info *info) { return info->degree ? "graph" : "flat"; }

static const char *rows_name(const fv_index_info *info) {
    size_t i = 0;
    while (row_types[i].type != info->row_type) i++; /* all that can be opened are there */
    return row_types[i].name;
}

/* ---- what changes an index ---- */

typedef fv_status put_fn(fv_index *index, size_t rows, uint32_t dimension, const float *vectors, const uint64_t *labels,
                         const fv_parallel *parallel, fv_message *message);

/* Adds vectors, or updates them. */
static int put(index_state *state, const char *data, put_fn *call) {
    fv_message message = {""};
    const index_options *options = state->options;
    fv_status status = fv_vectors_read(&state->vectors, data, &message);
    if (status == FV_OK && options->labels) status = fv_labels_read(&state->labels, options->labels, &message);
    if (status != FV_OK) return cli_outcome(status, &message);
    if (options->labels && state->labels.rows * state->labels.columns != state->vectors.rows)
        return cli_fail("%s: has %zu labels, %s has %zu vectors", options->labels,
                        state->labels.rows * state->labels.columns, data, state->vectors.rows);
    status = call(state->index, state->vectors.rows, dimension_of(&state->vectors), state->vectors.data,
                  options->labels ? state->labels.data : NULL, fv_pool_parallel(state->pool), &message);
    if (status == FV_OK && message.text[0]) cli_note("%s", message.text);
    return cli_outcome(status, &message);
}

static int link(index_state *state, bool if_less) {
    fv_message message = {""};
    fv_index_link_config config;
    cli_progress progress;
    fv_index_link_config_default(&config);
    config.degree = 32 * state->options->degree;
    config.beam = state->options->build_beam;
    config.if_less = if_less;
    config.lean = state->options->lean;
    config.progress = cli_progress_step;
    config.progress_context = &progress;
    cli_progress_start(&progress, "linking", "vectors");
    fv_status status = fv_index_link(state->index, &config, fv_pool_parallel(state->pool), &message);
    cli_progress_end(&progress);
    return cli_outcome(status, &message);
}

static int save(index_state *state, const char *path, uint64_t start_ns) {
    fv_message message = {""};
    fv_index *saved = NULL;
    fv_status status = fv_index_save(state->index, path, &message);
    if (status == FV_OK) status = fv_index_open(&saved, path, &message);
    if (status != FV_OK) return cli_outcome(status, &message);
    fv_index_info info;
    fv_index_info_get(saved, &info);
    fv_index_close(saved);
    double seconds = seconds_since(start_ns);
    if (!state->options->json) {
        cli_print("%s: %s, %" PRIu64 " vectors of dimension %" PRIu32, path, kind_name(&info), info.rows,
                  info.dimension);
        if (info.degree) cli_print(", %" PRIu32 " neighbours each", info.degree);
        cli_print(", %" PRIu64 " bytes, %.2f s\n", info.file_bytes, seconds);
        return cli_flush() ? CLI_DONE : CLI_FAILED;
    }
    json_t *document = json_object();
    CLI_ADD(document, {"vectors", cli_count(info.rows)}, {"dimension", cli_count(info.dimension)},
            {"kind", cli_text(kind_name(&info))}, {"degree", cli_count(info.degree)}, {"seconds", cli_real(seconds)},
            {"bytes", cli_count(info.file_bytes)});
    return cli_json_print(document);
}

static int build(index_state *state) {
    const index_options *options = state->options;
    fv_message message = {""};
    fv_index_config config;
    uint64_t start_ns = fv_machine_clock_ns();
    if (!options->out) return cli_usage_error("index", "name the index to be built with -o");
    fv_vectors head = {0};
    fv_status status = fv_vectors_read(&head, options->first, &message);
    uint32_t dimension = dimension_of(&head);
    fv_vectors_free(&head);
    if (status != FV_OK) return cli_outcome(status, &message);
    fv_index_config_default(dimension, options->metric, &config);
    config.seed = (uint64_t)options->seed;
    config.row_type = row_types[options->rows].type;
    config.refine_bits = options->refine;
    int result = cli_outcome(fv_index_make(&state->index, &config, &message), &message);
    if (result == CLI_GO_ON) result = put(state, options->first, fv_index_add);
    if (result == CLI_GO_ON && options->kind != KIND_FLAT)
        result = link(state, options->kind == KIND_AUTO);
    else if (result == CLI_GO_ON)
        result = cli_outcome(
            fv_index_calibrate(state->index, 0, dimension, NULL, fv_pool_parallel(state->pool), &message), &message);
    return result == CLI_GO_ON ? save(state, options->out, start_ns) : result;
}

/* What a change left: it is in the journal, or was taken into the file. */
static int changed(index_state *state, int result, uint64_t start_ns) {
    fv_index_info info = info_of(state);
    fv_index_changes changes;
    if (result != CLI_GO_ON) return result;
    fv_index_changes_get(state->index, &changes);
    double seconds = seconds_since(start_ns);
    if (!state->options->json) {
        cli_print("%s: %s, %" PRIu64 " vectors of dimension %" PRIu32 ", %" PRIu64 " bytes and %" PRIu64
                  " in the journal, %.2f s\n",
                  state->options->first, kind_name(&info), info.rows, info.dimension, changes.file_bytes,
                  changes.journal_bytes, seconds);
        return cli_flush() ? CLI_DONE : CLI_FAILED;
    }
    json_t *document = json_object();
    CLI_ADD(document, {"vectors", cli_count(info.rows)}, {"dimension", cli_count(info.dimension)},
            {"kind", cli_text(kind_name(&info))}, {"seconds", cli_real(seconds)},
            {"bytes", cli_count(changes.file_bytes)}, {"journal_bytes", cli_count(changes.journal_bytes)},
            {"waiting_calls", cli_count(changes.waiting_calls)});
    return cli_json_print(document);
}

static int insert(index_state *state) {
    uint64_t start_ns = fv_machine_clock_ns();
    return changed(state, put(state, state->options->second, fv_index_add), start_ns);
}

static int update(index_state *state) {
    uint64_t start_ns = fv_machine_clock_ns();
    if (!state->options->labels) return cli_usage_error("index", "update: name the labels with --labels");
    return changed(state, put(state, state->options->second, fv_index_update), start_ns);
}

static int delete_labels(index_state *state) {
    uint64_t start_ns = fv_machine_clock_ns();
    fv_message message = {""};
    fv_status status = fv_labels_read(&state->labels, state->options->second, &message);
    if (status == FV_OK)
        status =
            fv_index_remove(state->index, state->labels.rows * state->labels.columns, state->labels.data, &message);
    return changed(state, cli_outcome(status, &message), start_ns);
}

static int fold(index_state *state) {
    uint64_t start_ns = fv_machine_clock_ns();
    fv_message message = {""};
    fv_status status = fv_index_save(state->index, state->options->first, &message);
    return changed(state, cli_outcome(status, &message), start_ns);
}

/* ---- what reads one ---- */

static int inspect(index_state *state) {
    fv_message message = {""};
    fv_index_info info = info_of(state);
    static const char *const metrics[] = {"l2", "ip", "cosine"};
    fv_index_changes changes;
    fv_index_changes_get(state->index, &changes);
    if (state->options->check) {
        int result = cli_outcome(fv_index_check(state->index, &message), &message);
        if (result != CLI_GO_ON) return result;
    }
    if (!state->options->json) {
        cli_print("%s: index, version %" PRIu32 ", %" PRIu64 " bytes\n", state->options->first, info.version,
                  changes.file_bytes);
        cli_print("%s%s, %s, %" PRIu64 " vectors of dimension %" PRIu32 " as %s, seed %" PRIu64,
                  info.is_lean ? "lean " : "", kind_name(&info), metrics[info.metric], info.rows, info.dimension,
                  rows_name(&info), info.seed);
        cli_print(info.degree ? ", %" PRIu32 " neighbours each\n" : "\n", info.degree);
        cli_print("%" PRIu64 " removed vectors have rows; %" PRIu64 " changes of %" PRIu64
                  " vectors wait in the journal, %" PRIu64 " bytes\n",
                  changes.removed, changes.waiting_calls, changes.waiting_vectors, changes.journal_bytes);
        return cli_flush() ? CLI_DONE : CLI_FAILED;
    }
    json_t *document = json_object();
    CLI_ADD(document, {"path", cli_text(state->options->first)}, {"version", cli_count(info.version)},
            {"kind", cli_text(kind_name(&info))}, {"metric", cli_text(metrics[info.metric])},
            {"vectors", cli_count(info.rows)}, {"dimension", cli_count(info.dimension)},
            {"rows", cli_text(rows_name(&info))}, {"lean", json_boolean(info.is_lean)},
            {"degree", cli_count(info.degree)}, {"seed", cli_count(info.seed)},
            {"bytes", cli_count(changes.file_bytes)}, {"removed", cli_count(changes.removed)},
            {"waiting_calls", cli_count(changes.waiting_calls)},
            {"waiting_vectors", cli_count(changes.waiting_vectors)},
            {"journal_bytes", cli_count(changes.journal_bytes)}, {"checked", json_boolean(state->options->check)});
    return cli_json_print(document);
}

static int read_queries(index_state *state, fv_index_search *search) {
    fv_message message = {""};
    const index_options *options = state->options;
    fv_status status = fv_vectors_read(&state->vectors, options->second, &message);
    if (status == FV_OK && options->filter) status = fv_filter_read(&state->filter, options->filter, &message);
    if (status != FV_OK) return cli_outcome(status, &message);
    fv_index_search_default(dimension_of(&state->vectors), search);
    search->queries = state->vectors.data;
    search->count = state->vectors.rows;
    search->k = options->k;
    search->parallel = fv_pool_parallel(state->pool);
    if (options->filter) {
        search->filter_bits = state->filter.data;
        search->filter_words = state->filter.rows;
    }
    return CLI_GO_ON;
}

static int print_results(const index_state *state, const uint64_t *labels, const float *distances, size_t queries) {
    bool good = true;
    for (size_t q = 0; q < queries && good; q++) {
        good = cli_print("%zu", q);
        for (size_t i = 0; i < state->options->k && good && labels[i] != FV_INDEX_NO_LABEL; i++)
            good = cli_print(" %" PRIu64 ":%.6g", labels[i], (double)distances[i]);
        good = cli_print("\n") && good;
        labels += state->options->k;
        distances += state->options->k;
    }
    return good && cli_flush() ? CLI_DONE : CLI_FAILED;
}

static int tell(const fv_index_search *search, const fv_index_report *report, double seconds) {
    json_t *document = json_object();
    CLI_ADD(document, {"queries", cli_count(search->count)}, {"seconds", cli_real(seconds)},
            {"qps", cli_real((double)search->count / seconds)}, {"visits", cli_count(report->visits)},
            {"codes", cli_count(report->codes)}, {"rows", cli_count(report->rows)}, {"bytes", cli_count(report->bytes)},
            {"walks", cli_count(report->walks)}, {"lists", cli_count(report->lists)},
            {"kind", cli_text(2 * report->walks > report->queries ? "graph" : "flat")});
    return cli_json_print(document);
}

static int write_results(const index_state *state, const fv_index_search *search, const uint64_t *labels,
                         const float *distances) {
    const index_options *options = state->options;
    fv_message message = {""};
    fv_status status = FV_OK;
    if (options->labels_out) status = fv_npy_write_u64(options->labels_out, labels, search->count, search->k, &message);
    if (status == FV_OK && options->distances_out)
        status = fv_npy_write_f32(options->distances_out, distances, search->count, search->k, &message);
    return cli_outcome(status, &message);
}

static int search_index(index_state *state) {
    fv_index_search search;
    fv_message message = {""};
    fv_index_report report = {.struct_bytes = sizeof report};
    int result = read_queries(state, &search);
    if (result != CLI_GO_ON) return result;
    if (state->options->beam >= 0)
        search.beam = (uint32_t)state->options->beam;
    else
        search.recall = (float)state->options->recall;
    size_t each = search.k <= SIZE_MAX / 8 / (search.count + 1) ? search.k : SIZE_MAX / 16;
    uint64_t *labels = malloc((search.count + 1) * each * sizeof *labels);
    float *distances = malloc((search.count + 1) * each * sizeof *distances);
    if (!labels || !distances) result = cli_fail("no memory for the results of %zu queries", search.count);
    uint64_t start_ns = fv_machine_clock_ns();
    if (result == CLI_GO_ON)
        result = cli_outcome(fv_index_nearest(state->index, &search, labels, distances, &report, &message), &message);
    double seconds = seconds_since(start_ns);
    if (result == CLI_GO_ON) result = write_results(state, &search, labels, distances);
    if (result == CLI_GO_ON)
        result = state->options->json ? tell(&search, &report, seconds)
                 : state->options->labels_out || state->options->distances_out
                     ? CLI_DONE
                     : print_results(state, labels, distances, search.count);
    free(labels);
    free(distances);
    return result;
}

/* ---- bench ---- */

static size_t right_of(const index_state *state, const fv_index_search *search, const uint64_t *labels) {
    size_t right = 0, columns = state->truth.columns < search->k ? state->truth.columns : search->k;
    for (size_t q = 0; q < search->count; q++)
        for (size_t i = 0; i < columns; i++)
            for (size_t j = 0; j < search->k; j++)
                right += labels[q * search->k + j] == state->truth.data[q * state->truth.columns + i];
    return right;
}

static int bench_beam(index_state *state, fv_index_search *search, uint64_t *labels, float *distances, json_t *all) {
    fv_message message = {""};
    uint64_t start_ns = fv_machine_clock_ns();
    int result = cli_outcome(fv_index_nearest(state->index, search, labels, distances, NULL, &message), &message);
    if (result != CLI_GO_ON) return result;
    double seconds = seconds_since(start_ns), qps = (double)search->count / seconds;
    size_t columns = state->truth.columns < search->k ? state->truth.columns : search->k;
    double recall = (double)right_of(state, search, labels) / (double)(search->count * columns);
    if (!state->options->json) cli_print("ef %6" PRIu32 "  recall %.4f  %.0f queries/s\n", search->beam, recall, qps);
    json_t *line = json_object();
    CLI_ADD(line, {"ef", cli_count(search->beam)}, {"recall", cli_real(recall)}, {"qps", cli_real(qps)});
    cli_json_append(all, line);
    return CLI_GO_ON;
}

static int bench(index_state *state) {
    fv_index_search search;
    fv_message message = {""};
    int result = read_queries(state, &search);
    if (result == CLI_GO_ON && !state->options->truth)
        result = cli_usage_error("index", "name the true labels with --truth");
    if (result == CLI_GO_ON)
        result = cli_outcome(fv_labels_read(&state->truth, state->options->truth, &message), &message);
    if (result == CLI_GO_ON && (state->truth.rows != search.count || !state->truth.columns || !search.count))
        result =
            cli_fail("%s: has %zu rows, there are %zu queries", state->options->truth, state->truth.rows, search.count);
    if (result != CLI_GO_ON) return result;
    uint64_t *labels = calloc(search.count, search.k * sizeof *labels);
    float *distances = calloc(search.count, search.k * sizeof *distances);
    json_t *all = json_array();
    static const uint32_t beams[] = {10, 20, 40, 80, 160, 320, 640, 1280};
    if (!labels || !distances) result = cli_fail("no memory for the results of %zu queries", search.count);
    bool graph = info_of(state).degree != 0;
    for (size_t i = 0; result == CLI_GO_ON && i < sizeof beams / sizeof beams[0] && graph; i++) {
        search.beam = beams[i];
        if (beams[i] >= search.k || i + 1 == sizeof beams / sizeof beams[0])
            result = bench_beam(state, &search, labels, distances, all);
    }
    search.beam = 0;
    if (result == CLI_GO_ON && !graph) result = bench_beam(state, &search, labels, distances, all);
    free(labels);
    free(distances);
    if (result != CLI_GO_ON || !state->options->json) {
        json_decref(all);
        return result == CLI_GO_ON ? CLI_DONE : result;
    }
    return cli_json_print(all);
}

/* ---- the verb ---- */

enum { OPENS_NOT, OPENS_TO_READ, OPENS_TO_CHANGE };

static const struct action {
    const char *name, *second;
    int opens;
    int (*run)(index_state *state);
} actions[] = {
    {"build", NULL, OPENS_NOT, build},
    {"search", "the queries", OPENS_TO_READ, search_index},
    {"insert", "the vectors", OPENS_TO_CHANGE, insert},
    {"update", "the vectors", OPENS_TO_CHANGE, update},
    {"delete", "the labels", OPENS_TO_CHANGE, delete_labels},
    {"fold", NULL, OPENS_TO_CHANGE, fold},
    {"inspect", NULL, OPENS_TO_READ, inspect},
    {"bench", "the queries", OPENS_TO_READ, bench},
};
#define ACTIONS (sizeof actions / sizeof actions[0])

static int run_action(const struct action *action, const index_options *options) {
    index_state state = {.options = options};
    fv_message message = {""};
    cli_thread_options placement = cli_thread_options_default();
    if (!options->first) return cli_usage_error("index", "%s: no file", action->name);
    if (!action->second != !options->second)
        return cli_usage_error("index", "%s: %s", action->name,
                               options->second ? "one file is enough" : "after the index comes a second file");
    int result = cli_pool_open(&state.pool, "index", options->threads, &placement);
    const fv_parallel *parallel = fv_pool_parallel(state.pool);
    if (result == CLI_GO_ON && action->opens == OPENS_TO_READ)
        result = cli_outcome(fv_index_open(&state.index, options->first, &message), &message);
    if (result == CLI_GO_ON && action->opens == OPENS_TO_CHANGE)
        result = cli_outcome(fv_index_open_journal(&state.index, options->first, parallel, &message), &message);
    if (result == CLI_GO_ON) result = action->run(&state);
    fv_index_close(state.index);
    fv_pool_close(state.pool);
    fv_vectors_free(&state.vectors);
    fv_labels_free(&state.labels);
    fv_labels_free(&state.filter);
    fv_labels_free(&state.truth);
    return result;
}

int cmd_index(int argc, char **argv) {
    index_options options = {.build_beam = 200, .k = 10, .beam = -1, .threads = -1, .recall = 0.95};
    const cli_option_group groups[] = {CLI_GROUP("making", build_flags, &options),
                                       CLI_GROUP("searching", search_flags, &options),
                                       CLI_GROUP("all", common_flags, &options)};
    const cli_syntax syntax = {
        .verb = "index",
        .synopsis = "build DATA -o FILE | search FILE QUERIES | insert FILE DATA | delete FILE LABELS |\n"
                    "       fovea index update FILE DATA --labels LABELS | fold FILE | inspect FILE |\n"
                    "       fovea index bench FILE QUERIES --truth LABELS [flags]",
        .about = "Nearest neighbours among vectors. DATA and QUERIES are .npy (f4, f2, i1, u1; two\ndimensions), "
                 ".fvecs, .bvecs "
                 "or .ivecs; LABELS .npy or .ivecs. Changes are kept in FILE.journal, durable\n"
                 "when the command ends; fold takes them into the file, as many changes do by themselves.",
        CLI_GROUPS(groups),
        .operand = &options.first,
        .second = &options.second,
    };
    const struct action *action = NULL;
    for (size_t i = 0; i < ACTIONS && argc > 1; i++)
        if (strcmp(argv[1], actions[i].name) == 0) action = actions + i;
    int result = cli_options_parse(&syntax, action ? argc - 1 : argc, action ? argv + 1 : argv);
    if (result != CLI_GO_ON) return result;
    if (!action)
        return cli_usage_error("index",
                               "say what to do: build, search, insert, update, delete, fold, inspect or bench");
    return run_action(action, &options);
}
