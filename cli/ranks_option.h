/* ranks_option.h - the program as one of the ranks that mpirun started: rank 0 runs the verb, the others work for it.
 */
#ifndef FOVEA_RANKS_OPTION_H
#define FOVEA_RANKS_OPTION_H

#include "model_options.h"

#if CLI_HAVE_MPI
#include "mpi/crew.h"

/** The whole program under mpirun: joins the job, runs `verb` on rank 0 and ends the job with its exit code. */
int cli_ranks_main(int argc, char **argv, int (*verb)(int argc, char **argv));

/** The job; NULL: this process was started by itself. */
fv_crew *cli_ranks(void);

/** fv_engine_open() with the layers divided as the options say, and with -v lines that say who has what. */
fv_status cli_ranks_engine_open(fv_engine **engine, const fv_engine_config *config, const cli_model_options *options,
                                fv_message *message);
#endif

/** A random seed, the same on all ranks. */
uint32_t cli_ranks_seed(void);

/** The instruction set in use, under mpirun at rank 0, so that all ranks do the same. */
fv_isa cli_ranks_isa(void);

/** Ranks that share the work, 1 without mpirun; *border_bytes: out, that went from rank 0 to the next so far. */
uint32_t cli_ranks_count(uint64_t *border_bytes);

#endif
