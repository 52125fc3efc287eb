/* bench_verbs.h - the other benches: `fovea bench attention` and `fovea bench machine`. */
#ifndef FOVEA_BENCH_VERBS_H
#define FOVEA_BENCH_VERBS_H

/** argv[0] is "attention" or "machine". Returns the exit code. */
int cli_bench_attention(int argc, char **argv);
int cli_bench_machine(int argc, char **argv);

#endif
