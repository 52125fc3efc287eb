/* A store of two slots for states that are no caches: any number of bytes under a magic of their own. A cut at any
 * write leaves the old state or the new one; another's states are not touched. */
#include "store/crc64.h"
#include "store/slots.h"
#include "support/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 3000, SLOT = 4096, STORE = 2 * (4096 + SLOT) };

typedef struct medium {
    unsigned char bytes[STORE];
    size_t writes, writes_left;
} medium;

static fv_status medium_read(void *context, uint64_t offset, void *bytes, size_t count) {
    assert_true(count > 0 && count <= 256 && offset / 256 == (offset + count - 1) / 256 && offset + count <= STORE);
    memcpy(bytes, ((medium *)context)->bytes + offset, count);
    return FV_OK;
}

static fv_status medium_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    medium *m = context;
    assert_true(count > 0 && count <= 256 && offset / 256 == (offset + count - 1) / 256 && offset + count <= STORE);
    if (m->writes++ == m->writes_left) {
        memcpy(m->bytes + offset, bytes, count / 2);
        return FV_ERROR_FILE;
    }
    memcpy(m->bytes + offset, bytes, count);
    return FV_OK;
}

static fv_status accept(fv_slot *slot) {
    if (slot->version != 3) return FV_ERROR_UNSUPPORTED;
    if (slot->words[0] > ROOM || slot->words[7] != 77) return FV_ERROR_CORRUPT;
    slot->data_bytes = slot->words[0];
    slot->slot_bytes = fv_slot_whole(ROOM);
    return FV_OK;
}

static const fv_slot_format mine = {.magic = "notes", .accept = accept}, other = {.magic = "others", .accept = accept};

static fv_store store_of(medium *m) { return (fv_store){.context = m, .read = medium_read, .write = medium_write}; }

static fv_status save(const fv_slot_format *format, medium *m, unsigned char *bytes, uint32_t count) {
    const fv_store store = store_of(m);
    fv_slot state[FV_SLOTS], target = {.status = FV_OK,
                                       .version = 3,
                                       .words = {count, 0, 0, 0, 0, 0, 0, 77},
                                       .data_bytes = count,
                                       .slot_bytes = SLOT};
    fv_stream s;
    fv_slots_read(format, &store, state);
    fv_status status = fv_slots_target(&store, state, &target);
    if (status != FV_OK) return status;
    fv_slot_open(&s, &store, true, &target);
    for (uint32_t i = 0; i < count; i++) fv_stream_move(&s, bytes + i, 1);
    return fv_slot_commit(format, &target, &s);
}

/* The newest whole state; 0: there is none. */
static uint64_t load(const fv_slot_format *format, medium *m, unsigned char *bytes, uint32_t *count) {
    const fv_store store = store_of(m);
    fv_slot state[FV_SLOTS];
    fv_slots_read(format, &store, state);
    for (size_t i = 0; i < FV_SLOTS; i++) {
        fv_stream s;
        if (state[i].status != FV_OK || fv_slot_check(&store, &state[i]) != FV_OK) continue;
        fv_slot_open(&s, &store, false, &state[i]);
        *count = state[i].words[0];
        for (uint32_t k = 0; k < *count; k++) fv_stream_move(&s, bytes + k, 1);
        assert_true(s.status == FV_OK && s.checksum == state[i].checksum);
        return state[i].sequence;
    }
    return 0;
}

/* Every write of every save is cut once: what was saved last, or what was being saved, comes back whole. */
static void test_cuts(void **state) {
    (void)state;
    test_random random = test_random_make(301);
    for (size_t cut = 0; cut < 30; cut++) {
        static medium m;
        static unsigned char before[ROOM], after[ROOM], back[ROOM];
        uint32_t before_count = test_random_in(&random, 0, ROOM), after_count = test_random_in(&random, 0, ROOM), count;
        m = (medium){.writes_left = SIZE_MAX};
        test_fill_bytes(&random, before, sizeof before);
        test_fill_bytes(&random, after, sizeof after);
        assert_int_equal(load(&mine, &m, back, &count), 0);
        assert_int_equal(save(&mine, &m, before, before_count), FV_OK);
        assert_int_equal(save(&mine, &m, before, before_count), FV_OK);
        m.writes = 0;
        m.writes_left = cut;
        fv_status status = save(&mine, &m, after, after_count);
        assert_int_equal(status, cut < (after_count + 255) / 256 + 1 ? FV_ERROR_FILE : FV_OK);
        uint64_t sequence = load(&mine, &m, back, &count);
        assert_int_equal(sequence, status == FV_OK ? 3 : 2);
        assert_int_equal(count, status == FV_OK ? after_count : before_count);
        assert_memory_equal(back, status == FV_OK ? after : before, count);
        m.writes_left = SIZE_MAX;
        assert_int_equal(save(&mine, &m, after, after_count), FV_OK);
        assert_int_equal(load(&mine, &m, back, &count), sequence + 1);
        assert_memory_equal(back, after, after_count);
    }
}

/* A magic is a name: another's states are no headers here. Forgetting goes back by one. */
static void test_names_and_forgetting(void **state) {
    (void)state;
    static medium m;
    unsigned char one = 1, two = 2, back[ROOM];
    uint32_t count;
    m = (medium){.writes_left = SIZE_MAX};
    const fv_store store = store_of(&m);
    assert_int_equal(save(&mine, &m, &one, 1), FV_OK);
    assert_int_equal(save(&mine, &m, &two, 1), FV_OK);
    assert_int_equal(load(&other, &m, back, &count), 0);
    assert_int_equal(fv_slots_forget(&other, &store, 0), FV_ERROR_CORRUPT);
    assert_int_equal(load(&mine, &m, back, &count), 2);
    assert_int_equal(fv_slots_forget(&mine, &store, 1), FV_OK);
    assert_int_equal(load(&mine, &m, back, &count), 1);
    assert_true(count == 1 && back[0] == 1);
    assert_int_equal(fv_slots_forget(&mine, &store, 0), FV_ERROR_CORRUPT); /* nothing would be left */
}

/* Of "123456789", as the standard says; in pieces or at once. */
static void test_checksum(void **state) {
    (void)state;
    const unsigned char *text = (const unsigned char *)"123456789";
    for (size_t cut = 0; cut <= 9; cut++)
        assert_true(fv_crc64_add(fv_crc64_add(0, text, cut), text + cut, 9 - cut) == 0x995DC9BBDF1939FAu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_names_and_forgetting),
        cmocka_unit_test(test_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
