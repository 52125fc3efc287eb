/* inspect_check.h - the numbers of all tensors of a file. */
#ifndef FOVEA_INSPECT_CHECK_H
#define FOVEA_INSPECT_CHECK_H

#include "fovea/gguf.h"
#include "json_out.h"
#include <stdio.h>

typedef struct cli_tensor_check {
    json_t *faults; /* owned; objects: name, fault ("not finite", "zero"), bad_blocks, blocks, block_values, first */
    size_t checked, bad; /* tensors that could be looked at; of them with numbers that are not finite */
} cli_tensor_check;

/** Reads all tensors. CLI_GO_ON or CLI_INTERRUPTED. */
int cli_check_tensors(const fv_gguf *gguf, cli_tensor_check *all);
void cli_check_print(const fv_gguf *gguf, const cli_tensor_check *all);

#endif
