/* bench_attention.h - the other bench: `fovea bench attention`. */
#ifndef FOVEA_BENCH_ATTENTION_H
#define FOVEA_BENCH_ATTENTION_H

/** argv[0] is "attention". Returns the exit code. */
int cli_bench_attention(int argc, char **argv);

#endif
