/* job.h - the ranks of one job: who they are, letters with a time limit, pulses, and what happens when one of them dies
 * or falls silent. All functions but open and close may be called by any thread. */
#ifndef FV_JOB_H
#define FV_JOB_H

#include "fovea/message.h"
#include "mailbox.h"

#define FV_JOB_TIMEOUT_SECONDS 30 /* of silence, unless told otherwise */

/** Called once, when the job can't go on, with a sentence that names rank and host, by whatever thread noticed; then
 * the wire's end_all() is. It calls nothing of this header. */
typedef void fv_job_fault_fn(void *context, const char *sentence);

typedef struct fv_job_config {
    uint64_t timeout_ns; /* a rank of which nothing is heard for so long is lost; >= 1 ms */
    fv_job_fault_fn *on_fault;
    void *context;
} fv_job_config;

typedef struct fv_job fv_job;

/**
 * Greets all other ranks and starts the thread of pulses: a rank that computes for an hour is alive as long as that
 * thread is. Rank 0 listens for the pulses of all, the others for rank 0's.
 *
 * wire      context and self as its start() gave them; both are closed with the job, or by this call where it fails.
 * returns   FV_OK, FV_ERROR_MEMORY, FV_ERROR_DEADLINE (a rank does not answer), FV_ERROR_UNSUPPORTED (another version
 * of the program answers), FV_ERROR_FILE (the wire failed). *job untouched on error, on_fault was called.
 */
fv_status fv_job_open(fv_job **job, const fv_wire_table *table, void *wire, const fv_wire_self *self,
                      const fv_job_config *config, fv_message *message);

/** Rank 0 tells all others to end, and waits for them; they call it after the end has come. From then on nothing of any
 *  rank is on its way, and only close may be called. code: what others return from fv_job_ended(). false: a fault. */
bool fv_job_part(fv_job *job, int code);

/** Parts, if that was not done, and finishes the wire. NULL is allowed. */
void fv_job_close(fv_job *job, int code);

uint32_t fv_job_rank(const fv_job *job);
uint32_t fv_job_ranks(const fv_job *job);
const char *fv_job_host(const fv_job *job, uint32_t rank);
uint32_t fv_job_neighbours(const fv_job *job); /* ranks on this host, this one included */

/** A random number that all ranks know. */
uint32_t fv_job_seed(const fv_job *job);

/** The fv_isa in use at rank 0. */
uint32_t fv_job_isa(const fv_job *job);

/** Longest letter that may come from now on, without its frame. */
void fv_job_expect(fv_job *job, size_t most_bytes);

/** Lets a letter go; waits while FV_JOB_ON_THE_WAY letters of work to that rank are not yet taken. FV_OK, or
 *  FV_ERROR_FILE with the fault's sentence. */
fv_status fv_job_send(fv_job *job, uint32_t to, fv_frame_kind kind, const fv_piece *pieces, size_t count,
                      fv_message *message);
#define FV_JOB_ON_THE_WAY 1024

/**
 * Waits for a letter as long as the ranks live.
 * ended    NULL, or out: the end came before such a letter, which is NULL then.
 * returns  FV_OK, FV_ERROR_FILE with the fault's sentence, FV_ERROR_INTERRUPTED: the end came and `ended` is NULL.
 */
fv_status fv_job_take(fv_job *job, uint32_t from, uint32_t kinds, fv_letter **letter, bool *ended, fv_message *message);

/** This rank can't go on: rank 0 says why, and ends the job; waits for that. On rank 0 itself on_fault is called. */
void fv_job_fail(fv_job *job, const char *why);

/** The exit code that came with the end; 0 before. */
int fv_job_ended(const fv_job *job);

void fv_job_counts(fv_job *job, fv_mailbox_counts *counts);

#endif
