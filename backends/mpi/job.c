#include "job.h"
#include "fovea/machine.h"
#include "job_hello.h"
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MILLISECOND 1000000ull
#define SECOND (1000 * MILLISECOND)

typedef struct other_rank {
    uint64_t heard_ns; /* when something of it came last */
    bool is_known;     /* its hello came */
    bool is_gone;      /* it said goodbye */
    uint64_t seed;
    uint32_t isa;
    char host[FV_WIRE_HOST_BYTES];
} other_rank;

struct fv_job {
    const fv_wire_table *table;
    void *wire;
    fv_wire_self self;
    fv_job_config config;
    fv_mailbox *mailbox;
    other_rank *others; /* [ranks] */
    bool *came;         /* [ranks] */
    uint64_t turned_ns, next_pulse_ns, pulse_ns, busy_ns;
    bool is_told;               /* of the fault */
    bool is_ended;              /* the end came, or is under way */
    bool is_done;               /* this rank said goodbye: nothing of it follows */
    bool has_parted, is_parted; /* goodbyes were tried, and all were heard */
    int code;
    bool has_thread, stops;
    pthread_t thread;
    pthread_mutex_t lock; /* of all above, and of the wire */
    pthread_cond_t wake;
};

/* --- faults ------------------------------------------------------------------------------------------------------ */

static fv_status fault_status(const fv_job *job, fv_message *message) {
    const fv_mailbox_fault *fault = fv_mailbox_fault_of(job->mailbox);
    const other_rank *other = &job->others[fault->rank];
    if (!other->is_known)
        return fv_message_set(message, FV_ERROR_FILE, "rank %u (host not known yet): %s", fault->rank, fault->text);
    return fv_message_set(message, FV_ERROR_FILE, "rank %u on %s: %s", fault->rank, other->host, fault->text);
}

static void fault_tell(fv_job *job) {
    fv_message sentence;
    if (job->is_told) return;
    job->is_told = true;
    (void)fault_status(job, &sentence);
    if (job->config.on_fault) job->config.on_fault(job->config.context, sentence.text);
    job->table->end_all(job->wire, 1);
}

/* --- one turn of the post, under the lock ------------------------------------------------------------------------- */

static void read_words(fv_job *job) {
    const uint32_t kinds = FV_KIND_BIT(FV_FRAME_PULSE) | FV_KIND_BIT(FV_FRAME_FAULT) | FV_KIND_BIT(FV_FRAME_END) |
                           FV_KIND_BIT(FV_FRAME_BYE);
    for (fv_letter *letter; (letter = fv_mailbox_pick(job->mailbox, FV_ANY_RANK, kinds)); fv_letter_free(letter)) {
        if (letter->kind == FV_FRAME_FAULT) {
            char text[FV_WIRE_TEXT_BYTES];
            snprintf(text, sizeof text, "%.*s", (int)letter->length, (const char *)letter->bytes);
            fv_mailbox_fail(job->mailbox, letter->from, text);
        }
        if (letter->kind == FV_FRAME_BYE) job->others[letter->from].is_gone = true;
        if (letter->kind == FV_FRAME_END && letter->from == 0) {
            int32_t code;
            memcpy(&code, letter->bytes, sizeof code);
            job->code = code;
            job->is_ended = true;
        }
    }
}

/* Rank 0 hears all, the others rank 0. */
static bool listens_to(const fv_job *job, uint32_t rank) {
    return rank != job->self.rank && (job->self.rank == 0 || rank == 0);
}

static bool send_pulses(fv_job *job, uint64_t now) {
    if (job->is_done || now < job->next_pulse_ns) return true;
    job->next_pulse_ns = now + job->pulse_ns;
    for (uint32_t rank = 0; rank < job->self.ranks; rank++) {
        if (!listens_to(job, rank) || job->others[rank].is_gone) continue;
        if (fv_mailbox_on_the_way(job->mailbox, rank, FV_WIRE_WORD) > 0) continue;
        if (!fv_mailbox_send(job->mailbox, rank, FV_FRAME_PULSE, NULL, 0)) return false;
    }
    return true;
}

/* If all hear nothing of rank 0, the first of them speaks first. */
static bool check_silence(fv_job *job, uint64_t now) {
    uint64_t patience = job->config.timeout_ns;
    if (job->self.rank > 1) patience += patience / 8 * (job->self.rank < 8 ? job->self.rank - 1 : 7);
    for (uint32_t rank = 0; rank < job->self.ranks; rank++) {
        const other_rank *other = &job->others[rank];
        if (!listens_to(job, rank) || other->is_gone || now - other->heard_ns < patience) continue;
        char text[FV_WIRE_TEXT_BYTES];
        snprintf(text, sizeof text, "%s for %.3g seconds: it or its network stands still, and the job ends",
                 other->is_known ? "nothing was heard" : "it did not answer",
                 (double)job->config.timeout_ns / (double)SECOND);
        fv_mailbox_fail(job->mailbox, rank, text);
        return false;
    }
    return true;
}

/* Who was stopped itself has heard nobody meanwhile. */
static void forgive_sleep(fv_job *job, uint64_t now) {
    if (now - job->turned_ns > job->config.timeout_ns / 2)
        for (uint32_t rank = 0; rank < job->self.ranks; rank++) job->others[rank].heard_ns = now;
    job->turned_ns = now;
}

static bool turn(fv_job *job) {
    uint64_t now = fv_machine_clock_ns();
    forgive_sleep(job, now);
    memset(job->came, 0, job->self.ranks);
    bool ok = fv_mailbox_turn(job->mailbox, job->came);
    for (uint32_t rank = 0; rank < job->self.ranks; rank++)
        if (job->came[rank]) job->others[rank].heard_ns = now;
    if (fv_mailbox_busy(job->mailbox)) job->busy_ns = now;
    if (ok) read_words(job);
    ok = ok && !fv_mailbox_fault_of(job->mailbox)->is_set && send_pulses(job, now) && check_silence(job, now);
    if (!ok) fault_tell(job);
    return ok;
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

/* Awake at first, then in naps: what is waited for comes within microseconds, or when a stage has computed, or when
 * somebody types. */
static void nap(uint64_t waited_ns) {
    struct timespec time = {0, 20000};
    if (waited_ns < MILLISECOND / 5) {
        sched_yield();
        return;
    }
    if (waited_ns > 50 * MILLISECOND) time.tv_nsec = 100000;
    if (waited_ns > SECOND) time.tv_nsec = 1000000;
    nanosleep(&time, NULL);
}

typedef bool until_fn(fv_job *job, void *context);

/* Turns until `until` holds; false: a fault. Called and left with the lock held. */
static bool turn_until(fv_job *job, until_fn *until, void *context) {
    uint64_t begin = fv_machine_clock_ns();
    for (;;) {
        if (!turn(job)) return false;
        if (until(job, context)) return true;
        pthread_mutex_unlock(&job->lock);
        nap(fv_machine_clock_ns() - begin);
        pthread_mutex_lock(&job->lock);
    }
}

static void *pulse_thread(void *context) {
    fv_job *job = context;
    pthread_mutex_lock(&job->lock);
    while (!job->stops) {
        uint64_t rest = 20 * MILLISECOND;
        struct timespec end;
        if (!turn(job)) break;
        if (job->turned_ns - job->busy_ns < SECOND) rest = 2 * MILLISECOND;
        if (rest > job->pulse_ns) rest = job->pulse_ns;
        clock_gettime(CLOCK_REALTIME, &end);
        uint64_t nanoseconds = (uint64_t)end.tv_nsec + rest;
        end.tv_sec += (time_t)(nanoseconds / SECOND);
        end.tv_nsec = (long)(nanoseconds % SECOND);
        pthread_cond_timedwait(&job->wake, &job->lock, &end);
    }
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

/* --- letters ----------------------------------------------------------------------------------------------------- */

typedef struct wanted {
    uint32_t from, kinds;
    fv_letter *letter;
} wanted;

static bool letter_is_there(fv_job *job, void *context) {
    wanted *what = context;
    what->letter = fv_mailbox_pick(job->mailbox, what->from, what->kinds);
    return what->letter || (job->is_ended && job->self.rank > 0);
}

fv_status fv_job_take(fv_job *job, uint32_t from, uint32_t kinds, fv_letter **letter, bool *ended,
                      fv_message *message) {
    wanted what = {from, kinds, NULL};
    fv_status status = FV_OK;
    pthread_mutex_lock(&job->lock);
    if (!turn_until(job, letter_is_there, &what)) status = fault_status(job, message);
    pthread_mutex_unlock(&job->lock);
    if (ended) *ended = status == FV_OK && !what.letter;
    if (status == FV_OK && !what.letter && !ended)
        status = fv_message_set(message, FV_ERROR_INTERRUPTED, "rank 0 has ended the job");
    if (status == FV_OK) *letter = what.letter;
    return status;
}

static bool has_room(fv_job *job, void *context) {
    const uint32_t *to = context;
    return fv_mailbox_on_the_way(job->mailbox, *to, FV_WIRE_WORK) < FV_JOB_ON_THE_WAY;
}

fv_status fv_job_send(fv_job *job, uint32_t to, fv_frame_kind kind, const fv_piece *pieces, size_t count,
                      fv_message *message) {
    fv_status status = FV_OK;
    pthread_mutex_lock(&job->lock);
    bool ok = has_room(job, &to) || turn_until(job, has_room, &to);
    if (!ok || !fv_mailbox_send(job->mailbox, to, kind, pieces, count)) {
        fault_tell(job);
        status = fault_status(job, message);
    }
    pthread_mutex_unlock(&job->lock);
    return status;
}

/* --- beginning --------------------------------------------------------------------------------------------------- */

static bool all_are_known(fv_job *job, void *context) {
    fv_hello hello;
    bool all = true;
    (void)context;
    for (fv_letter *letter; (letter = fv_mailbox_pick(job->mailbox, FV_ANY_RANK, FV_KIND_BIT(FV_FRAME_HELLO)));
         fv_letter_free(letter)) {
        const char *wrong = fv_hello_check(&hello, letter, &job->self);
        char text[FV_WIRE_TEXT_BYTES];
        snprintf(text, sizeof text, "its greeting %s", wrong ? wrong : "");
        if (wrong) fv_mailbox_fail(job->mailbox, letter->from, text);
        if (wrong) continue;
        memcpy(job->others[letter->from].host, hello.host, sizeof hello.host);
        job->others[letter->from].seed = hello.seed;
        job->others[letter->from].isa = hello.isa;
        job->others[letter->from].is_known = true;
    }
    for (uint32_t rank = 0; rank < job->self.ranks; rank++) all = all && job->others[rank].is_known;
    return all;
}

static bool greet(fv_job *job) {
    fv_hello hello;
    fv_hello_make(&hello, &job->self, job->config.timeout_ns);
    job->others[job->self.rank].seed = hello.seed;
    job->others[job->self.rank].isa = hello.isa;
    const fv_piece piece = {&hello, sizeof hello};
    for (uint32_t rank = 0; rank < job->self.ranks; rank++)
        if (rank != job->self.rank && !fv_mailbox_send(job->mailbox, rank, FV_FRAME_HELLO, &piece, 1)) return false;
    return turn_until(job, all_are_known, NULL);
}

static fv_job *job_new(const fv_wire_table *table, void *wire, const fv_wire_self *self, const fv_job_config *config) {
    fv_job *made = calloc(1, sizeof *made);
    if (!made) return NULL;
    made->table = table;
    made->wire = wire;
    made->self = *self;
    made->config = *config;
    made->others = calloc(self->ranks, sizeof *made->others);
    made->came = calloc(self->ranks, sizeof *made->came);
    made->mailbox = fv_mailbox_new(table, wire, &made->self);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->wake, NULL);
    return made;
}

static void job_free(fv_job *job) {
    fv_mailbox_free(job->mailbox);
    pthread_mutex_destroy(&job->lock);
    pthread_cond_destroy(&job->wake);
    free(job->others);
    free(job->came);
    free(job);
}

/* Pulses come ten in the time that a rank may be silent. */
static void set_times(fv_job *job) {
    uint64_t now = fv_machine_clock_ns();
    job->pulse_ns = job->config.timeout_ns / 10 < SECOND ? job->config.timeout_ns / 10 : SECOND;
    job->turned_ns = now;
    job->next_pulse_ns = now + job->pulse_ns;
    for (uint32_t rank = 0; rank < job->self.ranks; rank++) job->others[rank].heard_ns = now;
    job->others[job->self.rank].is_known = true;
    memcpy(job->others[job->self.rank].host, job->self.host, sizeof job->self.host);
}

fv_status fv_job_open(fv_job **job, const fv_wire_table *table, void *wire, const fv_wire_self *self,
                      const fv_job_config *config, fv_message *message) {
    fv_status status = FV_OK;
    fv_job *made = job_new(table, wire, self, config);
    if (!made || !made->others || !made->came || !made->mailbox) {
        if (made) job_free(made);
        return fv_message_set(message, FV_ERROR_MEMORY, "out of memory for a job of %u ranks", self->ranks);
    }
    set_times(made);
    pthread_mutex_lock(&made->lock);
    if (!greet(made)) {
        fault_tell(made);
        status = fault_status(made, message);
    }
    pthread_mutex_unlock(&made->lock);
    if (status == FV_OK && pthread_create(&made->thread, NULL, pulse_thread, made) != 0)
        status = fv_message_set(message, FV_ERROR_MEMORY, "no thread for the pulses of the job");
    if (status == FV_OK) {
        made->has_thread = true;
        *job = made;
        return FV_OK;
    }
    job_free(made);
    return status;
}

/* --- the end ----------------------------------------------------------------------------------------------------- */

static bool all_are_gone(fv_job *job, void *context) {
    (void)context;
    for (uint32_t rank = 1; rank < job->self.ranks; rank++)
        if (!job->others[rank].is_gone) return false;
    return true;
}

static bool all_is_taken(fv_job *job, void *context) {
    (void)context;
    return !fv_mailbox_busy(job->mailbox) && (job->self.rank == 0 || !job->is_done || job->others[0].is_gone);
}

static bool send_bye(fv_job *job, uint32_t rank) {
    job->is_done = true;
    return fv_mailbox_send(job->mailbox, rank, FV_FRAME_BYE, NULL, 0);
}

/* A rank says goodbye to rank 0 when all that it sent was taken, and takes what comes until rank 0, which heard that of
 * all, says it too: nothing is on its way then. What a library finds unfinished at its end it may complain of, and UCX
 * does so on standard output. */
static bool say_goodbye(fv_job *job, int code) {
    int32_t number = code;
    const fv_piece piece = {&number, sizeof number};
    job->is_ended = true;
    if (job->self.rank > 0)
        return turn_until(job, all_is_taken, NULL) && send_bye(job, 0) && turn_until(job, all_is_taken, NULL);
    for (uint32_t rank = 1; rank < job->self.ranks; rank++)
        if (!fv_mailbox_send(job->mailbox, rank, FV_FRAME_END, &piece, 1)) return false;
    if (!turn_until(job, all_are_gone, NULL)) return false;
    for (uint32_t rank = 1; rank < job->self.ranks; rank++)
        if (!send_bye(job, rank)) return false;
    return turn_until(job, all_is_taken, NULL);
}

bool fv_job_part(fv_job *job, int code) {
    pthread_mutex_lock(&job->lock);
    if (!job->has_parted) job->is_parted = !fv_mailbox_fault_of(job->mailbox)->is_set && say_goodbye(job, code);
    job->has_parted = job->stops = true;
    pthread_cond_broadcast(&job->wake);
    pthread_mutex_unlock(&job->lock);
    return job->is_parted;
}

void fv_job_close(fv_job *job, int code) {
    if (!job) return;
    bool ok = fv_job_part(job, code);
    if (job->has_thread) pthread_join(job->thread, NULL);
    if (ok) job->table->finish(job->wire); /* after a fault it would wait for who is gone */
    job_free(job);
}

static bool never(fv_job *job, void *context) {
    uint64_t *end = context;
    (void)job;
    return fv_machine_clock_ns() > *end;
}

void fv_job_fail(fv_job *job, const char *why) {
    char text[FV_WIRE_TEXT_BYTES];
    snprintf(text, sizeof text, "%s", why[0] ? why : "it failed");
    const fv_piece piece = {text, strlen(text)};
    uint64_t end = fv_machine_clock_ns() + job->config.timeout_ns;
    pthread_mutex_lock(&job->lock);
    bool told = job->self.rank > 0 && fv_mailbox_send(job->mailbox, 0, FV_FRAME_FAULT, &piece, 1) &&
                turn_until(job, never, &end);
    (void)told; /* rank 0 ends the job; if it does not, this rank does */
    fv_mailbox_fail(job->mailbox, job->self.rank, text);
    fault_tell(job);
    pthread_mutex_unlock(&job->lock);
}

/* --- questions --------------------------------------------------------------------------------------------------- */

uint32_t fv_job_rank(const fv_job *job) { return job->self.rank; }
uint32_t fv_job_ranks(const fv_job *job) { return job->self.ranks; }
const char *fv_job_host(const fv_job *job, uint32_t rank) { return job->others[rank].host; }

uint32_t fv_job_seed(const fv_job *job) { return (uint32_t)job->others[0].seed; }
uint32_t fv_job_isa(const fv_job *job) { return job->others[0].isa; }

uint32_t fv_job_neighbours(const fv_job *job) {
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < job->self.ranks; rank++)
        count += strcmp(job->others[rank].host, job->self.host) == 0;
    return count;
}

void fv_job_expect(fv_job *job, size_t most_bytes) {
    pthread_mutex_lock(&job->lock);
    fv_mailbox_expect(job->mailbox, most_bytes + sizeof(fv_frame));
    pthread_mutex_unlock(&job->lock);
}

int fv_job_ended(const fv_job *job) { return job->code; }

void fv_job_counts(fv_job *job, fv_mailbox_counts *counts) {
    pthread_mutex_lock(&job->lock);
    *counts = *fv_mailbox_counts_of(job->mailbox);
    pthread_mutex_unlock(&job->lock);
}
