/* crew.h - the program under mpirun: the layers of a model are divided over ranks. Rank 0 has the front end, the
 * others wait for what it asks. Part of the program, not of libfovea. */
#ifndef FV_CREW_H
#define FV_CREW_H

#include "fovea/stage.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Whether a launcher of MPI started this process as one of several: a look at the environment. */
bool fv_crew_launched(void);

typedef struct fv_crew fv_crew;

/** Rank r has the layers of stage r / ranks_per_stage. Ranks of one stage hold one context together, each some of its
 *  segments (fovea/exchange.h): those of the first stage all have a front end, which must do the same. */
typedef struct fv_crew_config {
    uint32_t ranks_per_stage; /* divides the number of ranks */
    double timeout_seconds;   /* a rank of which nothing is heard for so long ends the job */
    void (*on_fault)(void *context, const char *sentence); /* from any thread; the process ends afterwards */
    void *context;
} fv_crew_config;

/** Range of the time-out. */
#define FV_CREW_TIMEOUT_LEAST 0.1
#define FV_CREW_TIMEOUT_MOST 86400.0
#define FV_CREW_END_SECONDS 5 /* for a library to come to its end, when all ranks have said goodbye */

/**
 * Joins the job, in a process of its own (rank_guard.h): call it first, while there is one thread and nothing is open.
 * returns FV_OK, FV_ERROR_UNSUPPORTED (no module for this launcher's MPI; another version of fovea), FV_ERROR_FILE,
 *         FV_ERROR_MEMORY.
 */
fv_status fv_crew_open(fv_crew **crew, const fv_crew_config *config, fv_message *message);

/** Rank 0: tells the others to end with `code`, and waits for it. NULL is allowed. */
void fv_crew_close(fv_crew *crew, int code);

uint32_t fv_crew_self(const fv_crew *crew);  /* this process's rank */
bool fv_crew_has_front(const fv_crew *crew); /* it is of the first stage */
uint32_t fv_crew_per_stage(const fv_crew *crew);
uint32_t fv_crew_seed(const fv_crew *crew); /* a random number, the same on all ranks */
uint32_t fv_crew_isa(const fv_crew *crew);  /* fv_isa of rank 0, likewise */
uint32_t fv_crew_count(const fv_crew *crew);

/** What a rank with a front end that came to its end with `code` waits for: rank 0 that the others have come there,
 * too, unless it failed; they that rank 0 ends the job. */
void fv_crew_await_end(fv_crew *crew, int code);

/** What ranks without a front end do: open what they are told, compute, until rank 0 ends the job. The exit code. */
int fv_crew_work(fv_crew *crew);

/**
 * fv_engine_open() whose layers are divided over all ranks; one such engine is open at a time. Threads: as many as
 * config->pool says on each rank; 0: the processors that a rank may use are shared out among the ranks of its host.
 *
 * split     NULL: by bytes of weights and of caches for `context_tokens` (0: the training context), for prompts;
 *           "answers": for answers (FV_STAGE_ANSWERS); else numbers of layers (fv_stage_split_parse()).
 * returns   FV_OK, what fv_stage_split(), fv_stage_split_parse(), fv_engine_open_range() and fv_engine_link() return. A
 *           model with fewer layers than ranks is FV_ERROR_ARGUMENT.
 */
fv_status fv_crew_engine_open(fv_crew *crew, fv_engine **engine, const fv_engine_config *config, const char *split,
                              uint32_t context_tokens, fv_message *message);

/** What a rank has of the engine that was opened last. */
typedef struct fv_rank_share {
    const char *host;
    fv_layer_range range;
    fv_stage_bytes bytes;
    uint32_t threads;
} fv_rank_share;
void fv_crew_share(const fv_crew *crew, uint32_t rank, fv_rank_share *share);

/** Of the messages of this rank so far, bytes of their frames included. */
typedef struct fv_crew_counts {
    uint64_t sent_messages, sent_bytes, come_messages, come_bytes;
} fv_crew_counts;
void fv_crew_counts_read(fv_crew *crew, fv_crew_counts *counts);

#ifdef __cplusplus
}
#endif

#endif
