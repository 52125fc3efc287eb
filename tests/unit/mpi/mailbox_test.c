/* mailbox_test.c - letters between ranks: what is sent arrives whole and in order, and of what does not look as
 * expected nothing is believed. */
#include "mpi/mailbox.h"
#include "queue_wire.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct world {
    queue_net net;
    queue_end ends[2];
    fv_wire_self selves[2];
    fv_mailbox *boxes[2];
} world;

static int setup(void **state) {
    world *made = calloc(1, sizeof *made);
    pthread_mutex_init(&made->net.lock, NULL);
    for (uint32_t r = 0; r < 2; r++) {
        made->ends[r] = (queue_end){.net = &made->net, .rank = r};
        made->selves[r] = (fv_wire_self){.rank = r, .ranks = 2, .host = "here"};
        made->boxes[r] = fv_mailbox_new(&queue_table, &made->ends[r], &made->selves[r]);
        assert_non_null(made->boxes[r]);
    }
    *state = made;
    return 0;
}

static int teardown(void **state) {
    world *made = *state;
    for (int round = 0; round < 3; round++)
        for (int r = 0; r < 2; r++) (void)fv_mailbox_turn(made->boxes[r], NULL);
    for (int r = 0; r < 2; r++) fv_mailbox_free(made->boxes[r]);
    for (int r = 0; r < 2; r++) free(made->ends[r].told);
    queue_sweep(&made->net);
    pthread_mutex_destroy(&made->net.lock);
    free(made);
    return 0;
}

static void letters_arrive_whole_and_in_order(void **state) {
    world *made = *state;
    uint32_t numbers[300];
    for (uint32_t i = 0; i < 300; i++) numbers[i] = i * 2654435761u;
    for (uint32_t i = 1; i <= 5; i++) {
        const fv_piece pieces[2] = {{&i, sizeof i}, {numbers, i * sizeof numbers[0]}};
        assert_true(fv_mailbox_send(made->boxes[0], 1, FV_FRAME_STAGE, pieces, 2));
    }
    assert_int_equal(fv_mailbox_on_the_way(made->boxes[0], 1, FV_WIRE_WORK), 5);
    assert_true(fv_mailbox_turn(made->boxes[1], NULL));
    assert_null(fv_mailbox_pick(made->boxes[1], 1, FV_KIND_BIT(FV_FRAME_STAGE))); /* not from that rank */
    assert_null(fv_mailbox_pick(made->boxes[1], 0, FV_KIND_BIT(FV_FRAME_SETUP)));
    for (uint32_t i = 1; i <= 5; i++) {
        fv_letter *letter = fv_mailbox_pick(made->boxes[1], FV_ANY_RANK, FV_KIND_BIT(FV_FRAME_STAGE));
        assert_non_null(letter);
        assert_int_equal(letter->from, 0);
        assert_int_equal(letter->length, 4 + 4 * i);
        assert_memory_equal(letter->bytes, &i, sizeof i);
        assert_memory_equal(letter->bytes + 4, numbers, 4 * i);
        fv_letter_free(letter);
    }
    assert_true(fv_mailbox_turn(made->boxes[0], NULL));
    assert_int_equal(fv_mailbox_on_the_way(made->boxes[0], 1, FV_WIRE_WORK), 0);
    assert_int_equal(fv_mailbox_counts_of(made->boxes[0])->sent_letters, 5);
    assert_int_equal(fv_mailbox_counts_of(made->boxes[0])->sent_bytes, 5 * (8 + 4) + 4 * 15);
    assert_int_equal(fv_mailbox_counts_of(made->boxes[1])->come_bytes, 5 * (8 + 4) + 4 * 15);
}

static void words_pass_work_that_nobody_takes(void **state) {
    world *made = *state;
    const fv_piece piece = {"x", 1};
    assert_true(fv_mailbox_send(made->boxes[0], 1, FV_FRAME_STAGE, &piece, 1));
    assert_true(fv_mailbox_send(made->boxes[0], 1, FV_FRAME_PULSE, NULL, 0));
    bool came[2] = {false, false};
    assert_true(fv_mailbox_turn(made->boxes[1], came));
    assert_true(came[0] && !came[1]);
    fv_letter *pulse = fv_mailbox_pick(made->boxes[1], 0, FV_KIND_BIT(FV_FRAME_PULSE));
    assert_non_null(pulse);
    assert_int_equal(pulse->length, 0);
    fv_letter_free(pulse);
}

/* What is wrong with a message of rank 0 to rank 1, as its receiver says it. */
static const char *complaint(world *made, int channel, const void *bytes, size_t size) {
    queue_put(&made->net, 0, 1, channel, bytes, size, NULL);
    assert_false(fv_mailbox_turn(made->boxes[1], NULL));
    assert_int_equal(fv_mailbox_fault_of(made->boxes[1])->rank, 0);
    assert_null(fv_mailbox_pick(made->boxes[1], FV_ANY_RANK, UINT32_MAX));
    assert_false(fv_mailbox_send(made->boxes[1], 0, FV_FRAME_PULSE, NULL, 0)); /* nothing goes on after a fault */
    return fv_mailbox_fault_of(made->boxes[1])->text;
}

static void nothing_is_believed(void **state) {
    const struct {
        const char *says;
        int channel, damage;
        size_t size;
    } cases[] = {{"shorter than its frame", FV_WIRE_WORK, -1, 7},
                 {"shorter than its frame", FV_WIRE_WORK, -1, 0},
                 {"does not begin", FV_WIRE_WORK, 0, 16},
                 {"does not begin", FV_WIRE_WORK, 1, 16},
                 {"unknown kind", FV_WIRE_WORK, 2, 16},
                 {"out of turn", FV_WIRE_WORK, 3, 16},
                 {"not as long as it says", FV_WIRE_WORK, 4, 16},
                 {"not as long as it says", FV_WIRE_WORK, 7, 16},
                 {"not as long as it says", FV_WIRE_WORK, -1, 15},
                 {"not as long as it says", FV_WIRE_WORK, -1, 17},
                 {"wrong channel", FV_WIRE_WORD, -1, 16},
                 {"longer than any", FV_WIRE_WORK, -1, (1 << 16) + 1}};
    uint8_t *bytes = calloc(1, (1 << 16) + 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fv_frame frame;
        assert_true(fv_frame_make(&frame, FV_FRAME_STAGE, 0, 8));
        memcpy(bytes, &frame, sizeof frame);
        if (cases[i].damage >= 0) bytes[cases[i].damage] ^= 0x11;
        const char *said = complaint(*state, cases[i].channel, bytes, cases[i].size);
        if (!strstr(said, cases[i].says)) fail_msg("case %zu: %s", i, said);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
    free(bytes);
}

static void a_message_twice_is_out_of_turn(void **state) {
    world *made = *state;
    uint8_t bytes[16] = {0};
    fv_frame frame;
    assert_true(fv_frame_make(&frame, FV_FRAME_STAGE, 0, 8));
    memcpy(bytes, &frame, sizeof frame);
    queue_put(&made->net, 0, 1, FV_WIRE_WORK, bytes, sizeof bytes, NULL);
    assert_true(fv_mailbox_turn(made->boxes[1], NULL));
    queue_put(&made->net, 0, 1, FV_WIRE_WORK, bytes, sizeof bytes, NULL);
    assert_false(fv_mailbox_turn(made->boxes[1], NULL));
    assert_non_null(strstr(fv_mailbox_fault_of(made->boxes[1])->text, "out of turn"));
}

static void lengths_of_kinds_hold(void **state) {
    fv_frame frame;
    (void)state;
    assert_false(fv_frame_make(&frame, FV_FRAME_PULSE, 0, 1));
    assert_false(fv_frame_make(&frame, FV_FRAME_STAGE, 0, 0));
    assert_false(fv_frame_make(&frame, FV_FRAME_STAGE, 0, (size_t)1 << 31));
    assert_false(fv_frame_make(&frame, FV_FRAME_KINDS, 0, 1));
    uint8_t bytes[9] = {0};
    assert_true(fv_frame_make(&frame, FV_FRAME_BYE, 3, 0));
    frame.length = 1;
    memcpy(bytes, &frame, sizeof frame);
    assert_string_equal(fv_frame_check(&frame, bytes, 9, FV_WIRE_WORD, 3), "is too long for its kind");
    frame.kind = FV_FRAME_KINDS;
    memcpy(bytes, &frame, sizeof frame);
    assert_string_equal(fv_frame_check(&frame, bytes, 9, FV_WIRE_WORD, 3), "is of an unknown kind");
}

static void a_wire_that_fails_is_this_rank_s_fault(void **state) {
    world *made = *state;
    const fv_piece piece = {"x", 1};
    made->net.is_broken[0] = true;
    assert_false(fv_mailbox_send(made->boxes[0], 1, FV_FRAME_STAGE, &piece, 1));
    assert_int_equal(fv_mailbox_fault_of(made->boxes[0])->rank, 0);
    assert_string_equal(fv_mailbox_fault_of(made->boxes[0])->text, "the cable is out");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(letters_arrive_whole_and_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(words_pass_work_that_nobody_takes, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_twice_is_out_of_turn, setup, teardown),
        cmocka_unit_test(lengths_of_kinds_hold),
        cmocka_unit_test_setup_teardown(a_wire_that_fails_is_this_rank_s_fault, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
