/* golden.c - runs recorded cases against the public functions: golden [-t THREADS] [--bits] DIR...
 * Each DIR holds case folders or is one. FV_ISA limits the instruction set. A line a case, then the counts. --bits adds
 * a checksum of our results to each line: equal ones are equal to the last bit. */
#include "golden/golden.h"
#include "fovea/pool.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct tally {
    size_t passed, failed, skipped;
    bool bits; /* print checksums */
} tally;

static bool is_case(const char *folder) {
    char path[1200];
    struct stat found;
    snprintf(path, sizeof path, "%s/case.json", folder);
    return stat(path, &found) == 0;
}

static void run_case(const char *folder, const fv_kernels *kernels, const fv_parallel *parallel, tally *sum) {
    char path[1200];
    json_error_t error;
    golden_case run = {
        .folder = folder, .kernels = kernels, .parallel = parallel, .tolerance = -1.0, .bits = 0xCBF29CE484222325u};
    snprintf(path, sizeof path, "%s/case.json", folder);
    run.json = json_load_file(path, 0, &error);
    const char *name = json_string_value(json_object_get(run.json, "name"));
    const char *function = json_string_value(json_object_get(run.json, "function"));
    golden_run_fn *call = golden_runner(function);
    if (!run.json)
        golden_fail(&run, "%s: line %d: %s", path, error.line, error.text);
    else if (!call)
        golden_fail(&run, "the function is not known");
    else
        call(&run);
    if (run.values == 0) golden_fail(&run, "nothing was compared");
    printf("%-36s %-28s %8zu values  ", name ? name : folder, function ? function : "?", run.values);
    if (run.tolerance > 0.0)
        printf("max |difference| %.2e  tolerance %.0e  ", run.worst, run.tolerance);
    else
        printf("%-43s", "exact");
    if (sum->bits) printf("%016llx  ", (unsigned long long)run.bits);
    printf("%s%s%s\n", run.failed ? "FAIL" : "ok", run.failed ? ": " : "", run.why);
    sum->passed += !run.failed;
    sum->failed += run.failed;
    golden_release(&run);
    json_decref(run.json);
}

static bool run_folder(const char *folder, const fv_kernels *kernels, const fv_parallel *parallel, tally *sum) {
    if (is_case(folder)) {
        run_case(folder, kernels, parallel, sum);
        return true;
    }
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    size_t before = sum->passed + sum->failed;
    for (int i = 0; i < count; i++) {
        char path[1000];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && is_case(path)) run_case(path, kernels, parallel, sum);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return sum->passed + sum->failed > before;
}

static fv_isa isa_limit(void) {
    const char *wanted = getenv("FV_ISA");
    fv_isa limit = FV_ISA_BEST;
    if (wanted && fv_isa_from_name(wanted, &limit) != FV_OK) {
        fprintf(stderr, "FV_ISA=%s is no instruction set of this build\n", wanted);
        exit(2);
    }
    return limit;
}

int main(int argc, char **argv) {
    static _Alignas(64) unsigned char table[FV_KERNELS_BYTES];
    const fv_kernels *kernels;
    fv_pool *pool = NULL;
    tally sum = {0};
    int first = 1;
    if (fv_kernels_init(&kernels, isa_limit(), table, sizeof table) != FV_OK) return 1;
    if (argc > first + 1 && strcmp(argv[first], "-t") == 0) {
        fv_message message = {0};
        if (fv_pool_open(&pool, (uint32_t)strtoul(argv[first + 1], NULL, 10), &message) != FV_OK) {
            fprintf(stderr, "golden: no threads\n");
            return 1;
        }
        first += 2;
    }
    if (argc > first && strcmp(argv[first], "--bits") == 0) {
        sum.bits = true;
        first++;
    }
    if (first >= argc) {
        fprintf(stderr, "usage: golden [-t THREADS] [--bits] DIR...\n");
        return 2;
    }
    for (int i = first; i < argc; i++) {
        if (run_folder(argv[i], kernels, pool ? fv_pool_parallel(pool) : NULL, &sum)) continue;
        printf("%s: there is no case\n", argv[i]);
        sum.failed++;
    }
    printf("%zu passed, %zu failed, %zu skipped\n", sum.passed, sum.failed, sum.skipped);
    fv_pool_close(pool);
    return sum.failed ? 1 : 0;
}
