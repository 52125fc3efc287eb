/* job_test.c - the ranks of a job as threads: greeting, letters, the end; and that a rank which falls silent, fails or
 * speaks nonsense ends it in time with one sentence that names it and its host. */
#include "fovea/machine.h"
#include "mpi/job.h"
#include "mpi/job_hello.h"
#include "queue_wire.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#define MILLISECOND 1000000ull

typedef struct member {
    queue_end end;
    fv_wire_self self;
    fv_job *job;
    fv_status opened;
    char sentence[512]; /* what on_fault was told */
    int sentences;
    pthread_t thread;
} member;

static queue_net net;
static member members[QUEUE_RANKS];
static uint32_t ranks;

static void note_fault(void *context, const char *sentence) {
    member *self = context;
    snprintf(self->sentence, sizeof self->sentence, "%s", sentence);
    self->sentences++;
}

static void *join_job(void *context) {
    member *self = context;
    const fv_job_config config = {1000 * MILLISECOND, note_fault, self};
    self->opened = fv_job_open(&self->job, &queue_table, &self->end, &self->self, &config, NULL);
    return NULL;
}

static void make_members(uint32_t count) {
    memset(&net, 0, sizeof net);
    memset(members, 0, sizeof members);
    pthread_mutex_init(&net.lock, NULL);
    ranks = count;
    for (uint32_t r = 0; r < count; r++) {
        members[r].end = (queue_end){.net = &net, .rank = r};
        members[r].self = (fv_wire_self){.rank = r, .ranks = count};
        snprintf(members[r].self.host, sizeof members[r].self.host, "host%u", r / 2);
    }
}

static void open_all(uint32_t count) {
    make_members(count);
    for (uint32_t r = 0; r < count; r++) pthread_create(&members[r].thread, NULL, join_job, &members[r]);
    for (uint32_t r = 0; r < count; r++) pthread_join(members[r].thread, NULL);
    for (uint32_t r = 0; r < count; r++) assert_int_equal(members[r].opened, FV_OK);
}

/* Ranks but 0, until rank 0 ends the job: each letter of work goes on to the next rank. */
static void *pass_on(void *context) {
    member *self = context;
    for (;;) {
        fv_letter *letter = NULL;
        bool ended = false;
        if (fv_job_take(self->job, FV_ANY_RANK, FV_KIND_BIT(FV_FRAME_STAGE), &letter, &ended, NULL) != FV_OK) break;
        if (ended) break;
        const fv_piece piece = {letter->bytes, letter->length};
        fv_status status = fv_job_send(self->job, (self->self.rank + 1) % ranks, FV_FRAME_STAGE, &piece, 1, NULL);
        fv_letter_free(letter);
        if (status != FV_OK) break;
    }
    return NULL;
}

static void *leave(void *context) {
    member *self = context;
    fv_job_close(self->job, 7);
    return NULL;
}

static void close_all(void) {
    for (uint32_t r = 0; r < ranks; r++) pthread_create(&members[r].thread, NULL, leave, &members[r]);
    for (uint32_t r = 0; r < ranks; r++) pthread_join(members[r].thread, NULL);
}

static void sweep(void) {
    queue_sweep(&net);
    pthread_mutex_destroy(&net.lock);
}

static uint64_t clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void nap_ms(long milliseconds) {
    const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void letters_go_round_and_the_end_comes(void **state) {
    (void)state;
    open_all(4);
    for (uint32_t r = 0; r < 4; r++) assert_string_equal(fv_job_host(members[r].job, 3), "host1");
    assert_int_equal(fv_job_neighbours(members[0].job), 2);
    fv_isa limit, reached;
    assert_int_equal(fv_machine_isa(&limit, &reached, NULL), FV_OK);
    for (uint32_t r = 0; r < 4; r++) assert_int_equal(fv_job_isa(members[r].job), reached);
    for (uint32_t r = 1; r < 4; r++) pthread_create(&members[r].thread, NULL, pass_on, &members[r]);
    for (uint32_t i = 0; i < 20; i++) {
        const fv_piece piece = {&i, sizeof i};
        assert_int_equal(fv_job_send(members[0].job, 1, FV_FRAME_STAGE, &piece, 1, NULL), FV_OK);
    }
    for (uint32_t i = 0; i < 20; i++) {
        fv_letter *letter = NULL;
        assert_int_equal(fv_job_take(members[0].job, 3, FV_KIND_BIT(FV_FRAME_STAGE), &letter, NULL, NULL), FV_OK);
        assert_memory_equal(letter->bytes, &i, sizeof i);
        fv_letter_free(letter);
    }
    pthread_create(&members[0].thread, NULL, leave, &members[0]);
    for (uint32_t r = 1; r < 4; r++) {
        pthread_join(members[r].thread, NULL);
        assert_int_equal(fv_job_ended(members[r].job), 7);
        assert_int_equal(members[r].sentences, 0);
        pthread_create(&members[r].thread, NULL, leave, &members[r]);
    }
    for (uint32_t r = 0; r < 4; r++) pthread_join(members[r].thread, NULL);
    assert_int_equal(net.finished, 4);
    sweep();
}

/* A library that finds messages unfinished at its end may print that where the program's output goes. */
static void nothing_is_on_its_way_at_the_end(void **state) {
    (void)state;
    const fv_piece piece = {"word", 4};
    for (int again = 0; again < 20; again++) {
        open_all(4);
        for (uint32_t r = 1; r < 4; r++) /* letters that nobody wants, and pulses all the time */
            for (uint32_t to = 0; to < 4; to++)
                if (to != r) assert_int_equal(fv_job_send(members[r].job, to, FV_FRAME_STAGE, &piece, 1, NULL), FV_OK);
        nap_ms(again);
        close_all();
        assert_int_equal(net.finished, 4);
        assert_int_equal(net.left, 0);
        sweep();
    }
}

/* Pulses alone keep a job alive in which nobody has anything to say. */
static void computing_is_no_silence(void **state) {
    (void)state;
    open_all(3);
    nap_ms(2500); /* two and a half times the limit */
    for (uint32_t r = 0; r < 3; r++) assert_int_equal(members[r].sentences, 0);
    close_all();
    assert_int_equal(net.finished, 3);
    sweep();
}

static void a_silent_rank_is_named(void **state) {
    (void)state;
    open_all(3);
    uint64_t begin = clock_ms();
    pthread_mutex_lock(&net.lock);
    net.is_cut[2] = true;
    pthread_mutex_unlock(&net.lock);
    fv_letter *letter = NULL;
    fv_message message = {""};
    fv_status status = fv_job_take(members[0].job, 2, FV_KIND_BIT(FV_FRAME_STAGE), &letter, NULL, &message);
    assert_int_equal(status, FV_ERROR_FILE);
    assert_true(clock_ms() - begin < 6000);
    assert_non_null(strstr(message.text, "rank 2 on host1: nothing was heard for 1 seconds"));
    assert_string_equal(members[0].sentence, message.text);
    assert_int_equal(members[0].sentences, 1);
    assert_int_equal(net.ended_with[0], 1);
    close_all();
    assert_int_equal(net.finished, 0); /* MPI would wait there */
    sweep();
}

static int ended_with(uint32_t rank) {
    pthread_mutex_lock(&net.lock);
    int code = net.ended_with[rank];
    pthread_mutex_unlock(&net.lock);
    return code;
}

static void rank_0_that_is_silent_is_named_by_one(void **state) {
    (void)state;
    open_all(3);
    pthread_mutex_lock(&net.lock);
    net.is_cut[0] = true;
    pthread_mutex_unlock(&net.lock);
    for (int i = 0; i < 300 && !ended_with(1); i++) nap_ms(10);
    assert_int_equal(ended_with(1), 1);
    assert_non_null(strstr(members[1].sentence, "rank 0 on host0: nothing was heard"));
    close_all();
    sweep();
}

static void *fail_job(void *context) {
    member *self = context;
    fv_job_fail(self->job, "no memory\nfor 8 layers");
    return NULL;
}

static void what_a_rank_fails_of_is_said_by_rank_0(void **state) {
    (void)state;
    open_all(2);
    pthread_create(&members[1].thread, NULL, fail_job, &members[1]);
    fv_letter *letter = NULL;
    assert_int_equal(fv_job_take(members[0].job, 1, FV_KIND_BIT(FV_FRAME_STAGE), &letter, NULL, NULL), FV_ERROR_FILE);
    assert_string_equal(members[0].sentence, "rank 1 on host0: no memory?for 8 layers");
    pthread_join(members[1].thread, NULL);
    close_all();
    sweep();
}

static void a_rank_that_never_greets_is_named(void **state) {
    (void)state;
    make_members(2);
    join_job(&members[0]);
    assert_int_equal(members[0].opened, FV_ERROR_FILE);
    assert_non_null(strstr(members[0].sentence, "rank 1 (host not known yet): it did not answer for 1 seconds"));
    sweep();
}

/* Rank 1 greets with these bytes; what rank 0 says of it. */
static void greeting_is_refused(const fv_hello *hello, size_t size, const char *says) {
    uint8_t bytes[sizeof(fv_frame) + sizeof *hello];
    fv_frame frame;
    make_members(2);
    assert_true(fv_frame_make(&frame, FV_FRAME_HELLO, 0, size));
    memcpy(bytes, &frame, sizeof frame);
    memcpy(bytes + sizeof frame, hello, size);
    queue_put(&net, 1, 0, FV_WIRE_WORD, bytes, sizeof frame + size, NULL);
    join_job(&members[0]);
    assert_int_equal(members[0].opened, FV_ERROR_FILE);
    if (!strstr(members[0].sentence, says)) fail_msg("%s", members[0].sentence);
    sweep();
}

static void strangers_are_refused(void **state) {
    fv_hello hello;
    const fv_wire_self self = {.rank = 1, .ranks = 2, .host = "there"};
    (void)state;
    fv_hello_make(&hello, &self, 1);
    greeting_is_refused(&hello, sizeof hello - 1, "another version");
    hello.version[0] = '9';
    greeting_is_refused(&hello, sizeof hello, "another version");
    fv_hello_make(&hello, &self, 1);
    hello.sizes[3] = 0x04030201u;
    greeting_is_refused(&hello, sizeof hello, "another kind of processor");
    fv_hello_make(&hello, &self, 1);
    hello.ranks = 3;
    greeting_is_refused(&hello, sizeof hello, "another job");
    fv_hello_make(&hello, &self, 1);
    memset(hello.host, 'x', sizeof hello.host);
    greeting_is_refused(&hello, sizeof hello, "without an end");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_go_round_and_the_end_comes),
        cmocka_unit_test(nothing_is_on_its_way_at_the_end),
        cmocka_unit_test(computing_is_no_silence),
        cmocka_unit_test(a_silent_rank_is_named),
        cmocka_unit_test(rank_0_that_is_silent_is_named_by_one),
        cmocka_unit_test(what_a_rank_fails_of_is_said_by_rank_0),
        cmocka_unit_test(a_rank_that_never_greets_is_named),
        cmocka_unit_test(strangers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
