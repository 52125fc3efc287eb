/* bench_verbs.h - the other benches: `fovea bench attention` and `fovea bench machine`. */
#ifndef FOVEA_BENCH_VERBS_H
#define FOVEA_BENCH_VERBS_H

#include "fovea/isa.h"

/** argv[0] is "attention" or "machine". Returns the exit code. */
int cli_bench_attention(int argc, char **argv);
int cli_bench_machine(int argc, char **argv);

/** fv_machine_isa(); CLI_GO_ON or CLI_FAILED. */
int cli_isa_limit(fv_isa *limit, fv_isa *reached);

#endif
