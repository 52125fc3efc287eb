#include "crew.h"
#include "fovea/machine.h"
#include "launcher.h"
#include "rank_guard.h"
#include "rank_link.h"
#include "rank_setup.h"
#include "rank_share.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fv_crew {
    fv_job *job;
    fv_rank_link link;
    double timeout_seconds;
    uint32_t per_stage, stages, column; /* column: place among the ranks of its stage */
    fv_rank_share_group group;
    fv_rank_ready *ready;  /* [ranks], of those that this one's front end set up */
    fv_stage_bytes *bytes; /* [ranks], likewise */
    uint64_t *sums;        /* [stages] fv_stage_sum() */
};

bool fv_crew_launched(void) {
    fv_launch launch;
    return fv_launch_find(&launch);
}

/* --- joining and leaving ----------------------------------------------------------------------------------------- */

/* MPI_Init waits for all ranks without a limit: here is one. What the handler writes is made before. */
static char late[256];
static void on_late(int number) {
    (void)number;
    if (write(STDERR_FILENO, late, strlen(late)) < 0) _exit(2);
    _exit(1);
}

/* The ranks come together, or the process ends: rank 0 says it first. */
static bool start(const fv_wire_table *table, const fv_launch *launch, double seconds, void **wire,
                  fv_wire_self *self) {
    char host[FV_WIRE_HOST_BYTES] = "";
    (void)gethostname(host, sizeof host - 1);
    if (launch->rank == 0)
        snprintf(late, sizeof late, "fovea: error: rank 0 on %.100s: not all of %u ranks started within %.3g seconds\n",
                 host, launch->ranks, seconds);
    signal(SIGALRM, on_late);
    alarm((unsigned)seconds + (launch->rank == 0 ? 1 : 3));
    bool ok = table->start(wire, self);
    alarm(0);
    signal(SIGALRM, SIG_DFL);
    return ok;
}

static fv_status join(fv_crew *crew, const fv_crew_config *config, const fv_launch *launch, const fv_wire_table *table,
                      fv_message *message) {
    fv_wire_self self;
    void *wire = NULL;
    const fv_job_config job = {(uint64_t)(config->timeout_seconds * 1e9), config->on_fault, config->context};
    if (!start(table, launch, config->timeout_seconds, &wire, &self))
        return fv_message_set(message, FV_ERROR_FILE, "%s does not start: %s", table->name, table->error(NULL));
    crew->per_stage = config->ranks_per_stage;
    if (crew->per_stage < 1 || self.ranks % crew->per_stage != 0)
        return fv_message_set(message, FV_ERROR_ARGUMENT, "%u ranks are no multiple of %u ranks per stage", self.ranks,
                              crew->per_stage);
    crew->stages = self.ranks / crew->per_stage;
    crew->column = self.rank % crew->per_stage;
    crew->ready = calloc(self.ranks, sizeof *crew->ready);
    crew->bytes = calloc(self.ranks, sizeof *crew->bytes);
    crew->sums = calloc(crew->stages, sizeof *crew->sums);
    if (!crew->ready || !crew->bytes || !crew->sums)
        return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for %u ranks", self.ranks);
    fv_status status = fv_job_open(&crew->job, table, wire, &self, &job, message);
    if (status != FV_OK) return status;
    fv_rank_link_init(&crew->link, crew->job, crew->per_stage);
    fv_rank_share_init(&crew->group, crew->job, self.rank - crew->column, crew->per_stage);
    return FV_OK;
}

fv_status fv_crew_open(fv_crew **crew, const fv_crew_config *config, fv_message *message) {
    fv_launch launch;
    const fv_wire_table *table = NULL;
    if (!fv_launch_find(&launch)) return fv_message_set(message, FV_ERROR_ARGUMENT, "there is no launcher of MPI");
    fv_crew *made = calloc(1, sizeof *made);
    if (!made) return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for ranks");
    made->timeout_seconds = config->timeout_seconds;
    fv_status status = fv_launch_load(&launch, &table, message);
    if (status == FV_OK) status = fv_rank_guard(launch.rank, message);
    if (status == FV_OK) status = join(made, config, &launch, table, message);
    if (status == FV_OK) {
        *crew = made;
        return FV_OK;
    }
    free(made->ready);
    free(made->bytes);
    free(made->sums);
    free(made);
    if (launch.rank > 0) sleep(1); /* what keeps all from joining is said by one: the launcher ends the others */
    return status;
}

/* A library may wait at its end for what never comes: MPICH over UCX does, where packets are late or lost. All ranks
 * have said goodbye by then, and nothing is left to be done. */
static int code_at_end;
static void leave(int number) {
    (void)number;
    _exit(code_at_end);
}

void fv_crew_close(fv_crew *crew, int code) {
    if (!crew) return;
    if (fv_job_part(crew->job, code)) {
        code_at_end = fv_job_rank(crew->job) == 0 ? code : fv_job_ended(crew->job);
        fflush(NULL);
        signal(SIGALRM, leave);
        alarm(FV_CREW_END_SECONDS);
    }
    fv_job_close(crew->job, code);
    alarm(0);
    free(crew->ready);
    free(crew->bytes);
    free(crew->sums);
    free(crew);
}

uint32_t fv_crew_self(const fv_crew *crew) { return fv_job_rank(crew->job); }
uint32_t fv_crew_count(const fv_crew *crew) { return fv_job_ranks(crew->job); }

uint32_t fv_crew_per_stage(const fv_crew *crew) { return crew->per_stage; }
bool fv_crew_has_front(const fv_crew *crew) { return fv_job_rank(crew->job) < crew->per_stage; }
uint32_t fv_crew_seed(const fv_crew *crew) { return fv_job_seed(crew->job); }
uint32_t fv_crew_isa(const fv_crew *crew) { return fv_job_isa(crew->job); }

/* Front ends of one context do the same, but not at the same time: the end that rank 0 tells all ranks of would
 * overtake what the slower ones still wait for from other ranks. */
void fv_crew_await_end(fv_crew *crew, int code) {
    fv_letter *letter = NULL;
    bool ended = false;
    if (fv_job_rank(crew->job) > 0) {
        const fv_piece piece = {"", 1};
        if (fv_job_send(crew->job, 0, FV_FRAME_READY, &piece, 1, NULL) == FV_OK)
            (void)fv_job_take(crew->job, 0, FV_KIND_BIT(FV_FRAME_SETUP), &letter, &ended, NULL);
        fv_letter_free(letter);
        return;
    }
    for (uint32_t rank = 1; rank < crew->per_stage && code == 0; rank++) {
        if (fv_job_take(crew->job, rank, FV_KIND_BIT(FV_FRAME_READY), &letter, NULL, NULL) != FV_OK) return;
        fv_letter_free(letter);
    }
}

/* The contexts of an engine are divided over the ranks of its stage, if these are several. */
static fv_status divide(fv_crew *crew, fv_engine *engine, fv_message *message) {
    return crew->per_stage > 1 ? fv_engine_divide(engine, &crew->group.exchange, message) : FV_OK;
}

/* Ranks of one host share its processors, unless the launcher shared them out. */
static void share_processors(const fv_crew *crew, fv_pool_config *pool) {
    fv_machine_limits limits;
    uint32_t neighbours = fv_job_neighbours(crew->job);
    if (pool->threads > 0) return;
    fv_machine_limits_read(&limits);
    if (limits.processors_by == FV_LIMIT_AFFINITY) return;
    pool->threads = limits.processors > neighbours ? limits.processors / neighbours : 1;
}

/* --- ranks but 0 ------------------------------------------------------------------------------------------------- */

static fv_status sum_refuse(const char *model, fv_message *message) {
    return fv_message_set(message, FV_ERROR_ARGUMENT, "%s is another model here than rank 0's file of that name",
                          model);
}

static fv_status answer_ready(fv_crew *crew, const fv_engine *engine, const fv_rank_setup *setup, fv_message *message) {
    fv_rank_ready ready;
    memset(&ready, 0, sizeof ready);
    ready.range = setup->range;
    ready.threads = fv_engine_threads(engine);
    const fv_piece piece = {&ready, sizeof ready};
    return fv_job_send(crew->job, crew->column, FV_FRAME_READY, &piece, 1, message);
}

/* Serves one engine of rank 0. */
static fv_status serve(fv_crew *crew, const fv_letter *letter, fv_message *message) {
    fv_rank_setup setup;
    fv_engine *engine = NULL;
    fv_stage_worker *worker = NULL;
    const char *wrong = fv_setup_unpack(&setup, letter);
    if (wrong) return fv_message_set(message, FV_ERROR_CORRUPT, "the setup %s", wrong);
    share_processors(crew, &setup.config.pool);
    fv_status status = fv_engine_open_range(&engine, &setup.config, &setup.range, message);
    if (status == FV_OK && fv_stage_sum(fv_engine_llm(engine), &setup.range) != setup.sum)
        status = sum_refuse(setup.config.model, message);
    if (status == FV_OK) status = divide(crew, engine, message);
    if (status == FV_OK) status = fv_stage_worker_open(&worker, engine, message);
    if (status == FV_OK) status = answer_ready(crew, engine, &setup, message);
    if (status == FV_OK) status = fv_stage_serve(worker, &crew->link.link, message);
    fv_stage_worker_close(worker);
    fv_engine_close(engine);
    return status;
}

int fv_crew_work(fv_crew *crew) {
    fv_message message = {""};
    fv_job_expect(crew->job, FV_STAGE_MESSAGE_MOST);
    for (;;) {
        fv_letter *letter = NULL;
        bool ended = false;
        const uint32_t kinds = FV_KIND_BIT(FV_FRAME_SETUP);
        fv_status status = fv_job_take(crew->job, crew->column, kinds, &letter, &ended, &message);
        if (status == FV_OK && ended) return fv_job_ended(crew->job);
        if (status == FV_OK) status = serve(crew, letter, &message);
        fv_letter_free(letter);
        if (status == FV_ERROR_INTERRUPTED) return fv_job_ended(crew->job);
        if (status == FV_OK) continue;
        fv_job_fail(crew->job, message.text[0] ? message.text : fv_status_text(status));
        return 1;
    }
}

/* --- front ends ------------------------------------------------------------------------------------------------------
 */

static fv_status split_make(fv_crew *crew, const fv_engine_config *config, const char *split, uint32_t context_tokens,
                            uint32_t *layers, fv_message *message) {
    fv_llm *llm = NULL;
    fv_session_config session = config->session;
    uint32_t count = crew->stages;
    fv_status status =
        fv_llm_open_allowing(&llm, config->model, config->allowed_keys, config->allowed_key_count, message);
    if (status != FV_OK) return status;
    session.context_tokens = context_tokens;
    uint32_t model_layers = fv_llm_config(llm)->layers;
    if (model_layers < count)
        status = fv_message_set(message, FV_ERROR_ARGUMENT, "%s has %u layers, too few for %u stages", config->model,
                                model_layers, count);
    else if (split && strcmp(split, "answers") != 0)
        status = fv_stage_split_parse(split, model_layers, count, layers, message);
    else
        status = fv_stage_split(llm, &session, count, split ? FV_STAGE_ANSWERS : FV_STAGE_PROMPTS, layers, message);
    for (uint32_t stage = 0; stage < count && status == FV_OK; stage++) {
        fv_layer_range range;
        fv_stage_layers(layers, stage, &range);
        fv_stage_bytes *bytes = &crew->bytes[stage * crew->per_stage + crew->column];
        status = fv_stage_bytes_plan(llm, &session, &range, bytes, message);
        if (status == FV_OK) bytes->cache /= crew->per_stage;
        crew->sums[stage] = fv_stage_sum(llm, &range);
    }
    fv_llm_close(llm);
    return status;
}

static fv_status send_setup(fv_crew *crew, const fv_engine_config *config, const uint32_t *layers,
                            fv_message *message) {
    fv_status status = FV_OK;
    for (uint32_t stage = 1; stage < crew->stages && status == FV_OK; stage++) {
        fv_layer_range range;
        size_t bytes = 0;
        uint32_t rank = stage * crew->per_stage + crew->column;
        fv_stage_layers(layers, stage, &range);
        uint8_t *letter = fv_setup_pack(config, &range, crew->sums[stage], &bytes);
        if (!letter) return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for the setup of rank %u", rank);
        const fv_piece piece = {letter, bytes};
        status = fv_job_send(crew->job, rank, FV_FRAME_SETUP, &piece, 1, message);
        free(letter);
    }
    return status;
}

/* Ranks that have the first layers with rank 0 open their own files. */
static fv_status compare_fronts(fv_crew *crew, const char *model, fv_message *message) {
    const size_t length = crew->stages * sizeof *crew->sums;
    const fv_piece piece = {crew->sums, length};
    fv_status status = FV_OK;
    fv_letter *letter = NULL;
    for (uint32_t rank = 1; rank < crew->per_stage && crew->column == 0 && status == FV_OK; rank++)
        status = fv_job_send(crew->job, rank, FV_FRAME_READY, &piece, 1, message);
    if (crew->column == 0) return status;
    status = fv_job_take(crew->job, 0, FV_KIND_BIT(FV_FRAME_READY), &letter, NULL, message);
    if (status != FV_OK) return status;
    if (letter->length != length || memcmp(letter->bytes, crew->sums, length) != 0) {
        status = sum_refuse(model, message);
        fv_job_fail(crew->job, message->text);
    }
    fv_letter_free(letter);
    return status;
}

static fv_status take_ready(fv_crew *crew, const uint32_t *layers, fv_message *message) {
    for (uint32_t stage = 1; stage < crew->stages; stage++) {
        fv_letter *letter = NULL;
        fv_layer_range range;
        uint32_t rank = stage * crew->per_stage + crew->column;
        fv_stage_layers(layers, stage, &range);
        fv_status status = fv_job_take(crew->job, rank, FV_KIND_BIT(FV_FRAME_READY), &letter, NULL, message);
        if (status != FV_OK) return status;
        bool ok = letter->length == sizeof *crew->ready;
        if (ok) memcpy(&crew->ready[rank], letter->bytes, letter->length);
        fv_letter_free(letter);
        if (!ok || crew->ready[rank].range.first != range.first || crew->ready[rank].range.count != range.count)
            return fv_message_set(message, FV_ERROR_CORRUPT, "rank %u on %s answers for other layers", rank,
                                  fv_job_host(crew->job, rank));
    }
    return FV_OK;
}

static fv_status open_own(fv_crew *crew, fv_engine **engine, const fv_engine_config *config, const uint32_t *layers,
                          fv_message *message) {
    fv_engine_config own = *config;
    fv_rank_ready *ready = &crew->ready[crew->column];
    fv_stage_layers(layers, 0, &ready->range);
    share_processors(crew, &own.pool);
    fv_status status = crew->stages > 1 ? fv_engine_open_range(engine, &own, &ready->range, message)
                                        : fv_engine_open(engine, &own, message);
    if (status == FV_OK) status = divide(crew, *engine, message);
    if (status != FV_OK) return status;
    ready->threads = fv_engine_threads(*engine);
    return FV_OK;
}

fv_status fv_crew_engine_open(fv_crew *crew, fv_engine **engine, const fv_engine_config *config, const char *split,
                              uint32_t context_tokens, fv_message *message) {
    fv_engine *made = NULL;
    uint32_t *layers = calloc(crew->stages, sizeof *layers);
    if (!layers) return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for ranks");
    fv_job_expect(crew->job, FV_STAGE_MESSAGE_MOST);
    fv_status status = split_make(crew, config, split, context_tokens, layers, message);
    if (status == FV_OK) status = compare_fronts(crew, config->model, message);
    if (status == FV_OK) status = send_setup(crew, config, layers, message);
    if (status == FV_OK) status = open_own(crew, &made, config, layers, message);
    if (status == FV_OK) status = take_ready(crew, layers, message);
    if (status == FV_OK && crew->stages > 1) status = fv_engine_link(made, &crew->link.link, crew->stages, message);
    free(layers);
    if (status == FV_OK)
        *engine = made;
    else
        fv_engine_close(made);
    return status;
}

/* --- questions --------------------------------------------------------------------------------------------------- */

void fv_crew_share(const fv_crew *crew, uint32_t rank, fv_rank_share *share) {
    const fv_rank_ready *ready = &crew->ready[rank];
    *share = (fv_rank_share){fv_job_host(crew->job, rank), ready->range, crew->bytes[rank], ready->threads};
}

void fv_crew_counts_read(fv_crew *crew, fv_crew_counts *counts) {
    fv_mailbox_counts all;
    fv_job_counts(crew->job, &all);
    *counts = (fv_crew_counts){all.sent_letters, all.sent_bytes, all.come_letters, all.come_bytes};
}
