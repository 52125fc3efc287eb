/* cache_file_test.c - a saved cache comes back bit for bit or not at all, whatever is cut, flipped or refused. */
#include "cache/cache_pages.h"
#include "fovea/cache.h"
#include "support/cache_state.h"
#include "support/random.h"
#include "support/tables.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

enum { SECTOR = 4096, HEADER = 72, DATA = 2 * SECTOR };

static test_tables tables;

/* A store in memory that can lose power, refuse reads and end early. */
typedef struct medium {
    unsigned char *bytes;
    size_t count, writes, writes_left, torn_bytes; /* of the write that fails, so many bytes arrive */
    size_t read_limit;                             /* reads beyond it fail */
    size_t reads, rot_at;                          /* from read number rot_at on, what is read is wrong */
    size_t syncs;
} medium;

static fv_status medium_read(void *context, uint64_t offset, void *bytes, size_t count) {
    medium *m = context;
    assert_true(count > 0 && count <= 256 && offset / 256 == (offset + count - 1) / 256);
    if (offset >= m->read_limit || count > m->read_limit - offset) return FV_ERROR_FILE;
    size_t there = offset < m->count ? m->count - offset : 0;
    memset(bytes, 0, count);
    memcpy(bytes, m->bytes + (there ? offset : 0), there < count ? there : count);
    if (m->reads++ >= m->rot_at) ((unsigned char *)bytes)[0] ^= 1;
    return FV_OK;
}

static fv_status medium_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    medium *m = context;
    assert_true(count > 0 && count <= 256 && offset / 256 == (offset + count - 1) / 256);
    assert_true(offset < m->count && count <= m->count - offset);
    if (m->writes == m->writes_left) {
        memcpy(m->bytes + offset, bytes, count < m->torn_bytes ? count : m->torn_bytes);
        return FV_ERROR_FILE;
    }
    memcpy(m->bytes + offset, bytes, count);
    m->writes++;
    return FV_OK;
}

static fv_status medium_sync(void *context) { return ((medium *)context)->syncs++, FV_OK; }

static fv_store store_of(medium *m) {
    return (fv_store){.context = m, .read = medium_read, .write = medium_write, .sync = medium_sync};
}

static medium medium_make(const fv_cache_config *config) {
    uint64_t bytes = 0;
    assert_int_equal(fv_cache_save_size(config, &bytes), FV_OK);
    medium m = {.count = (size_t)bytes, .writes_left = SIZE_MAX, .read_limit = SIZE_MAX, .rot_at = SIZE_MAX};
    m.bytes = calloc(m.count, 1);
    assert_non_null(m.bytes);
    return m;
}

static medium medium_copy(const medium *m) {
    medium copy = *m;
    copy.bytes = malloc(m->count);
    assert_non_null(copy.bytes);
    memcpy(copy.bytes, m->bytes, m->count);
    return copy;
}

/* An old state and a new one, each a cache of its own, and a store that holds one or both. */
typedef struct history {
    fv_cache *before, *after, *into;
    medium medium;
} history;

static history history_make(const fv_cache_config *config, uint32_t tokens, uint32_t more, bool both,
                            test_random *random) {
    history h = {.before = test_cache_make(config, tables.table[0]), .after = test_cache_make(config, tables.table[0])};
    h.into = test_cache_make(config, tables.table[tables.count - 1]);
    h.medium = medium_make(config);
    test_random again = *random;
    test_cache_append(h.before, tokens, random);
    test_cache_append(h.after, tokens, &again);
    test_cache_append(h.after, more, random);
    fv_store store = store_of(&h.medium);
    uint64_t sequence = 0;
    assert_int_equal(fv_cache_save(h.before, &store, &sequence), FV_OK);
    assert_int_equal(sequence, 1);
    if (both) assert_int_equal(fv_cache_save(h.after, &store, &sequence), FV_OK);
    return h;
}

static void history_free(history *h) {
    free(h->before);
    free(h->after);
    free(h->into);
    free(h->medium.bytes);
}

static const fv_cache_config small = {.kv_heads = 2,
                                      .head_dim = 3,
                                      .max_tokens = 6,
                                      .key_type = FV_ELEMENT_F16,
                                      .value_type = FV_ELEMENT_Q8_0,
                                      .landmark_tokens = 2};

/* Restores over another state. A refusal leaves that one; success gives the state of the sequence number, bit for bit.
 */
static uint64_t restore_checked(history *h, medium *m) {
    static const uint64_t none = 77;
    uint64_t sequence = none;
    fv_store store = store_of(m);
    test_random random = test_random_make(9), again = random;
    assert_int_equal(fv_cache_truncate(h->into, 0), FV_OK);
    test_cache_append(h->into, 1, &random);
    fv_status status = fv_cache_restore(h->into, &store, &sequence);
    if (status == FV_OK) {
        assert_true(sequence == 1 || sequence == 2);
        assert_true(test_cache_equals(h->into, sequence == 1 ? h->before : h->after));
        return sequence;
    }
    assert_true(status == FV_ERROR_CORRUPT || status == FV_ERROR_FILE);
    assert_int_equal(sequence, none);
    fv_cache *untouched = test_cache_make(&h->into->config, tables.table[0]);
    test_cache_append(untouched, 1, &again);
    assert_true(test_cache_equals(h->into, untouched));
    free(untouched);
    return 0;
}

/* All types, landmarks of none, few and many tokens, empty and full. */
static void test_round_trip(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (uint32_t run = 0; run < 3 * 3 * 4 * 6; run++) {
        fv_cache_config config = {.kv_heads = test_random_in(&random, 1, 4),
                                  .head_dim = test_random_in(&random, 1, 70),
                                  .max_tokens = test_random_in(&random, 1, 90),
                                  .key_type = run % 3,
                                  .value_type = run / 3 % 3,
                                  .landmark_tokens = (const uint32_t[]){0, 1, 7, 64}[run / 9 % 4]};
        const uint32_t counts[] = {0, 1, config.max_tokens, test_random_in(&random, 0, config.max_tokens)};
        uint32_t tokens = counts[run / 36 % 4], more = test_random_in(&random, 0, config.max_tokens - tokens);
        history h = history_make(&config, tokens, 0, false, &random);
        assert_int_equal(restore_checked(&h, &h.medium), 1);
        assert_int_equal(h.medium.syncs, 2);
        test_cache_append(h.into, more, &random);
        assert_int_equal(fv_cache_tokens(h.into), tokens + more);
        fv_cache_config found = {0};
        fv_store store = store_of(&h.medium);
        assert_int_equal(fv_cache_save_shape(&store, &found), FV_OK);
        assert_memory_equal(&found, &config, sizeof found);
        history_free(&h);
    }
}

/* What is not in a file is recomputed from what is, whether or not the cache that was saved had it. */
static void test_coarse_copies_are_made_anew(void **state) {
    (void)state;
    test_random random = test_random_make(12);
    for (uint32_t run = 0; run < 8; run++) {
        fv_cache_config config = {.kv_heads = 2,
                                  .head_dim = 8 + 8 * run,
                                  .max_tokens = 90,
                                  .key_type = run % FV_ELEMENT_COUNT,
                                  .value_type = run % FV_ELEMENT_COUNT,
                                  .shadow = 1,
                                  .tail = 1};
        test_random again = random;
        fv_cache *want = test_cache_make(&config, tables.table[0]),
                 *into = test_cache_make(&config, tables.table[tables.count - 1]);
        if (run % 2) config.shadow = config.tail = 0;
        fv_cache *saved = test_cache_make(&config, tables.table[0]);
        medium m = medium_make(&config);
        fv_store store = store_of(&m);
        test_cache_append(want, 70, &again);
        test_cache_append(saved, 70, &random);
        assert_int_equal(fv_cache_save(saved, &store, NULL), FV_OK);
        assert_int_equal(fv_cache_restore(into, &store, NULL), FV_OK);
        for (uint32_t head = 0; head < 2; head++) {
            assert_memory_equal(fv_tail_page(&into->tail, head, 0), fv_tail_page(&want->tail, head, 0),
                                4 * fv_tail_page_bytes(&want->tail));
            assert_memory_equal(fv_shadow_steps(&into->shadow, head, 0), fv_shadow_steps(&want->shadow, head, 0),
                                70 * 2);
        }
        free(want);
        free(into);
        free(saved);
        free(m.bytes);
    }
}

/* Saved and restored between any two appends, cuts and removals: the same bits as a cache that was never saved. */
static void test_going_on(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    for (uint32_t run = 0; run < 9; run++) {
        fv_cache_config config = {.kv_heads = 2,
                                  .head_dim = 20,
                                  .max_tokens = 70,
                                  .key_type = run % 3,
                                  .value_type = run / 3,
                                  .landmark_tokens = run % 2 ? 5 : 16};
        const fv_kernels *kernels = tables.table[run % tables.count];
        fv_cache *plain = test_cache_make(&config, kernels), *saved = test_cache_make(&config, kernels);
        medium m = medium_make(&config);
        fv_store store = store_of(&m);
        for (uint64_t step = 1; step <= 60; step++) {
            uint32_t tokens = fv_cache_tokens(plain), what = test_random_in(&random, 0, 3);
            uint32_t count = test_random_in(&random, 0, what < 2 ? (70 - tokens) / 3 : tokens);
            test_random again = random;
            for (int one = 0; one < 2; one++) {
                fv_cache *cache = one ? saved : plain;
                if (what < 2) test_cache_append(cache, count, one ? &again : &random);
                if (what == 2) assert_int_equal(fv_cache_truncate(cache, count), FV_OK);
                if (what == 3 && count < tokens) assert_int_equal(fv_cache_remove(cache, count), FV_OK);
            }
            uint64_t sequence = 0, restored = 0;
            assert_int_equal(fv_cache_save(saved, &store, &sequence), FV_OK);
            free(saved);
            saved = test_cache_make(&config, kernels);
            assert_int_equal(fv_cache_restore(saved, &store, &restored), FV_OK);
            assert_true(sequence == step && restored == step);
            assert_true(test_cache_equals(saved, plain));
        }
        free(plain);
        free(saved);
        free(m.bytes);
    }
}

/* Summaries of what is stored unrounded: those restored are those rebuilt, by a cut that rebuilds them. */
static void test_landmarks_are_rebuilt_ones(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    fv_cache_config config = small;
    config.key_type = config.value_type = FV_ELEMENT_F32;
    config.landmark_tokens = 4;
    history h = history_make(&config, 6, 0, false, &random);
    assert_int_equal(restore_checked(&h, &h.medium), 1);
    assert_int_equal(fv_cache_truncate(h.into, 5), FV_OK); /* rebuilds the second */
    assert_int_equal(fv_cache_truncate(h.before, 5), FV_OK);
    assert_true(test_cache_equals(h.into, h.before));
    history_free(&h);
}

/* One state saved: a flipped bit or a lost end is an error. Two: the one before, or the newest. Bits that belong to no
 * state change nothing. */
static void test_flips(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    for (int both = 0; both < 2; both++) {
        history h = history_make(&small, 3, 2, both, &random);
        size_t found[3] = {0}, changed = 0;
        for (size_t bit = 0; bit < 8 * h.medium.count; bit++) {
            if (bit / 8 % SECTOR >= 512 && bit % 1024) continue; /* padding, but for a few */
            h.medium.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            uint64_t sequence = restore_checked(&h, &h.medium);
            h.medium.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            found[sequence]++;
            changed += sequence != (both ? 2u : 1u);
        }
        /* per head and token 3 * 2 bytes of keys, 3 + 4 of values; per head and landmark 24 */
        size_t before_bytes = 2 * (3 * 13 + 2 * 24), after_bytes = 2 * (5 * 13 + 3 * 24);
        assert_int_equal(changed, 8 * (HEADER + (both ? after_bytes : before_bytes)));
        assert_int_equal(found[both ? 1 : 0], changed);
        history_free(&h);
    }
}

static void test_truncations(void **state) {
    (void)state;
    test_random random = test_random_make(5);
    for (int both = 0; both < 2; both++) {
        history h = history_make(&small, 3, 2, both, &random);
        size_t whole = h.medium.count, found[3] = {0};
        for (size_t length = 0; length <= whole; length++) {
            bool reads_zeros = length % 2;
            if (reads_zeros)
                h.medium.count = length;
            else
                h.medium.read_limit = length;
            uint64_t sequence = restore_checked(&h, &h.medium);
            h.medium.count = whole;
            h.medium.read_limit = SIZE_MAX;
            found[sequence]++;
            if (length < DATA) assert_int_equal(sequence, 0);
        }
        assert_true(found[0] >= DATA && found[1] > 0 && (found[2] > 0) == both);
        history_free(&h);
    }
}

/* Power is lost at each write, and within it: the old state or the new one, and saving goes on. */
static void test_cuts(void **state) {
    (void)state;
    test_random random = test_random_make(6);
    static const size_t torn[] = {0, 1, 8, 63, 71, 128, 255};
    for (int both = 0; both < 2; both++) {
        fv_cache_config config = {.kv_heads = 2,
                                  .head_dim = 24,
                                  .max_tokens = 40,
                                  .key_type = FV_ELEMENT_F16,
                                  .value_type = FV_ELEMENT_F16,
                                  .landmark_tokens = 8};
        history h = history_make(&config, 20, 20, false, &random);
        fv_store store = store_of(&h.medium);
        if (both) { /* garbage and an older state are in the way */
            assert_int_equal(fv_cache_save(h.after, &store, NULL), FV_OK);
            assert_int_equal(fv_cache_save(h.before, &store, NULL), FV_OK);
            h.medium.bytes[SECTOR + 20] ^= 4;
        }
        uint64_t old = both ? 3 : 1;
        size_t cuts = 0;
        for (bool done = false; !done; cuts++)
            for (size_t t = 0; t < sizeof torn / sizeof *torn; t++) {
                medium m = medium_copy(&h.medium);
                m.writes = 0, m.writes_left = cuts, m.torn_bytes = torn[t];
                store.context = &m;
                uint64_t sequence = 0, restored = 0;
                fv_status status = fv_cache_save(h.after, &store, &sequence);
                assert_true(status == FV_OK || (status == FV_ERROR_FILE && sequence == 0));
                done = status == FV_OK;
                m.writes_left = SIZE_MAX;
                assert_int_equal(fv_cache_restore(h.into, &store, &restored), FV_OK);
                bool is_new = restored == old + 1; /* of a cut save too, if the cut came after the whole header */
                assert_true(is_new || (!done && restored == old));
                assert_true(!is_new || done || torn[t] >= HEADER);
                assert_true(test_cache_equals(h.into, is_new ? h.after : h.before));
                assert_int_equal(fv_cache_save(h.after, &store, &sequence), FV_OK);
                assert_int_equal(fv_cache_restore(h.into, &store, &restored), FV_OK);
                assert_true(sequence == restored && restored == (is_new ? old + 2 : old + 1));
                assert_true(test_cache_equals(h.into, h.after));
                free(m.bytes);
            }
        assert_true(cuts > 30);
        history_free(&h);
    }
}

/* Writes that arrive in another order: a header without its data is not believed, and the next save does not go over
 * the last whole state. */
static void test_header_without_data(void **state) {
    (void)state;
    test_random random = test_random_make(7);
    history h = history_make(&small, 3, 2, true, &random);
    uint64_t sequence = 0;
    fv_store store = store_of(&h.medium);
    h.medium.bytes[h.medium.count - SECTOR] ^= 1; /* the newest, in slot 1 */
    assert_int_equal(restore_checked(&h, &h.medium), 1);
    test_cache_append(h.into, 1, &random); /* neither of the two */
    h.medium.writes = 0, h.medium.writes_left = 1;
    assert_int_equal(fv_cache_save(h.into, &store, &sequence), FV_ERROR_FILE);
    h.medium.writes_left = SIZE_MAX;
    assert_int_equal(restore_checked(&h, &h.medium), 1);
    assert_int_equal(fv_cache_save(h.after, &store, &sequence), FV_OK);
    assert_int_equal(sequence, 3);
    history_free(&h);
}

static void test_other_configurations(void **state) {
    (void)state;
    test_random random = test_random_make(8);
    history h = history_make(&small, 3, 2, true, &random);
    fv_store store = store_of(&h.medium);
    for (int field = 0; field < 6; field++) {
        fv_cache_config other = small, found;
        uint32_t *fields[] = {&other.kv_heads, &other.head_dim,   &other.max_tokens,
                              &other.key_type, &other.value_type, &other.landmark_tokens};
        *fields[field] = *fields[field] ? *fields[field] - 1 : 1;
        fv_cache *cache = test_cache_make(&other, tables.table[0]);
        uint64_t sequence = 5;
        size_t writes = h.medium.writes;
        assert_int_equal(fv_cache_restore(cache, &store, &sequence), FV_ERROR_ARGUMENT);
        assert_int_equal(fv_cache_save(cache, &store, &sequence), FV_ERROR_ARGUMENT);
        assert_true(sequence == 5 && fv_cache_tokens(cache) == 0 && h.medium.writes == writes);
        assert_int_equal(fv_cache_save_shape(&store, &found), FV_OK);
        assert_memory_equal(&found, &small, sizeof found);
        medium given_up = medium_copy(&h.medium);
        memset(given_up.bytes, 0, DATA);
        fv_store again = store_of(&given_up);
        if (field < 3 || field == 5) { /* smaller: fits into the same store */
            assert_int_equal(fv_cache_save(cache, &again, &sequence), FV_OK);
            assert_int_equal(fv_cache_restore(cache, &again, &sequence), FV_OK);
            assert_int_equal(sequence, 1);
        }
        free(given_up.bytes);
        free(cache);
    }
    history_free(&h);
}

/* A longer context takes what a shorter one saved, and goes on; it does not write into the shorter one's store. */
static void test_larger_context(void **state) {
    (void)state;
    test_random random = test_random_make(18);
    history h = history_make(&small, 3, 2, true, &random);
    fv_store store = store_of(&h.medium);
    fv_cache_config larger = small;
    uint64_t sequence = 0;
    for (larger.max_tokens = small.max_tokens; larger.max_tokens < 70; larger.max_tokens += 9) {
        fv_cache *cache = test_cache_make(&larger, tables.table[0]), *want = test_cache_make(&larger, tables.table[0]);
        test_random more = random, same = random;
        assert_int_equal(fv_cache_restore(cache, &store, &sequence), FV_OK);
        assert_int_equal(sequence, 2);
        assert_int_equal(fv_cache_copy(want, h.after), FV_OK);
        test_cache_append(cache, larger.max_tokens - 5, &more);
        test_cache_append(want, larger.max_tokens - 5, &same);
        assert_true(test_cache_equals(cache, want));
        fv_status expected = larger.max_tokens == small.max_tokens ? FV_OK : FV_ERROR_ARGUMENT;
        medium copy = medium_copy(&h.medium);
        fv_store other = store_of(&copy);
        assert_int_equal(fv_cache_save(cache, &other, NULL), expected);
        if (expected != FV_OK) assert_memory_equal(copy.bytes, h.medium.bytes, copy.count);
        free(copy.bytes);
        free(cache);
        free(want);
    }
    history_free(&h);
}

/* CRC-64/XZ bit by bit, from its definition. */
static uint64_t crc64(const unsigned char *bytes, size_t count) {
    uint64_t sum = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xC96C5795D7870F42u : 0);
    }
    return ~sum;
}

static void put(unsigned char *bytes, size_t count, uint64_t number) {
    for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)(number >> (8 * i));
}

static void header_seal(unsigned char *header) { put(header + 64, 8, crc64(header, 64)); }

/* The bytes, written out by hand: files of version 1 stay readable. */
static void test_bytes_of_version_1(void **state) {
    (void)state;
    assert_true(crc64((const unsigned char *)"123456789", 9) == 0x995DC9BBDF1939FAu); /* the check value of CRC-64/XZ */
    static const fv_cache_config config = {.kv_heads = 1,
                                           .head_dim = 2,
                                           .max_tokens = 3,
                                           .key_type = FV_ELEMENT_F16,
                                           .value_type = FV_ELEMENT_Q8_0,
                                           .landmark_tokens = 4};
    static const unsigned char data[] = {
        0x00, 0x3C, 0x00, 0xC0, 0x7F, 0x81, 0,    0,    0x80, 0x3F, /* key 1, -2; value 127, -127, step 1 */
        0x00, 0x38, 0x00, 0x00, 0x00, 0x7F, 0,    0,    0,    0x3F, /* key 0.5, 0; value 0, 127, step 0.5 */
        0,    0,    0x40, 0x3F, 0,    0,    0x80, 0xBF,             /* the landmark's key: 0.75, -1 */
        0,    0,    0x7E, 0x42, 0,    0,    0xFE, 0xC1,             /* its value: 63.5, -31.75 */
    };
    static const float keys[] = {1, -2, 0.5f, 0}, values[] = {127, -127, 0, 63.5f};
    unsigned char header[HEADER] = "fvcache";
    const uint32_t words[] = {1, 2, 3, FV_ELEMENT_F16, FV_ELEMENT_Q8_0, 4, 2, 0};
    put(header + 8, 4, 1), put(header + 12, 4, HEADER), put(header + 16, 8, 1);
    for (size_t i = 0; i < 8; i++) put(header + 24 + 4 * i, 4, words[i]);
    put(header + 56, 8, crc64(data, sizeof data));
    header_seal(header);
    fv_cache *cache = test_cache_make(&config, tables.table[0]), *into = test_cache_make(&config, tables.table[0]);
    medium m = medium_make(&config);
    fv_store store = store_of(&m);
    uint64_t sequence = 0;
    assert_int_equal(m.count, DATA + 2 * SECTOR);
    assert_int_equal(fv_cache_append(cache, 2, keys, 2, values, 2), FV_OK);
    assert_int_equal(fv_cache_save(cache, &store, NULL), FV_OK);
    assert_memory_equal(m.bytes, header, HEADER);
    assert_memory_equal(m.bytes + DATA, data, sizeof data);
    memset(m.bytes, 0, m.count);
    memcpy(m.bytes, header, HEADER);
    memcpy(m.bytes + DATA, data, sizeof data);
    store.sync = NULL;
    assert_int_equal(fv_cache_restore(into, &store, &sequence), FV_OK);
    assert_true(sequence == 1 && test_cache_equals(into, cache));

    /* A newer version is somebody's state; a header that is whole and says what cannot be is none. */
    static const struct {
        size_t at;
        uint64_t value;
        fv_status status;
    } lies[] = {{8, 3, FV_ERROR_UNSUPPORTED},     {8, 0, FV_ERROR_UNSUPPORTED}, {12, 80, FV_ERROR_CORRUPT},
                {24, 0, FV_ERROR_CORRUPT},        {28, 1025, FV_ERROR_CORRUPT}, {32, UINT32_MAX, FV_ERROR_CORRUPT},
                {36, 5, FV_ERROR_CORRUPT},        {40, 5, FV_ERROR_CORRUPT},    {48, 4, FV_ERROR_CORRUPT},
                {44, 1u << 31, FV_ERROR_CORRUPT}, {52, 1, FV_ERROR_CORRUPT},    {48, 1, FV_ERROR_CORRUPT},
                {8, 2, FV_ERROR_CORRUPT},         {36, 3, FV_ERROR_CORRUPT},    {40, 4, FV_ERROR_CORRUPT}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(m.bytes, header, HEADER);
        put(m.bytes + lies[i].at, 4, lies[i].value);
        header_seal(m.bytes);
        assert_int_equal(fv_cache_restore(into, &store, NULL), lies[i].status);
        assert_true(test_cache_equals(into, cache));
        if (lies[i].status == FV_ERROR_UNSUPPORTED)
            assert_int_equal(fv_cache_save(cache, &store, NULL), lies[i].status);
    }
    memcpy(m.bytes, header, HEADER);
    put(m.bytes + 48, 4, 4); /* more tokens than fit, with the right checksum */
    put(m.bytes + 56, 8, crc64(m.bytes + DATA, 4 * 10 + 16));
    header_seal(m.bytes);
    assert_int_equal(fv_cache_restore(into, &store, NULL), FV_ERROR_CORRUPT);
    memcpy(m.bytes, header, HEADER);
    put(m.bytes + 16, 8, UINT64_MAX);
    header_seal(m.bytes);
    assert_int_equal(fv_cache_restore(into, &store, &sequence), FV_OK);
    assert_true(sequence == UINT64_MAX);
    assert_int_equal(fv_cache_save(cache, &store, NULL), FV_ERROR_OVERFLOW);
    free(cache);
    free(into);
    free(m.bytes);
}

/* Likewise of version 2, which has the types BF16 and Q4_0: a key lies there as a value does. */
static void test_bytes_of_version_2(void **state) {
    (void)state;
    static const fv_cache_config config = {
        .kv_heads = 1, .head_dim = 3, .max_tokens = 2, .key_type = FV_ELEMENT_Q4_0, .value_type = FV_ELEMENT_BF16};
    static const unsigned char data[] = {
        0x00, 0x3C, 0x80, 0x8F, 0x89, 0x88, 0x88, 0x88, 0x88, 0x88, /* key -8, 7, 1: scale 1, nibbles 0, 15, 9, zeros */
        0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88,             /* 16..31 are all zeros */
        0x80, 0x3F, 0x00, 0xC0, 0x00, 0x3F,                         /* value 1, -2, 0.5 */
        0x00, 0xB8, 0x80, 0x88, 0x8A, 0x88, 0x88, 0x88, 0x88, 0x88, /* key 4, 0, -1: scale -0.5, nibbles 0, 8, 10 */
        0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x00, 0x00, 0x80, 0x40, 0x40, 0xC0, /* value 0, 4, -3 */
    };
    static const float keys[] = {-8, 7, 1, 4, 0, -1}, values[] = {1, -2, 0.5f, 0, 4, -3};
    unsigned char header[HEADER] = "fvcache";
    const uint32_t words[] = {1, 3, 2, FV_ELEMENT_Q4_0, FV_ELEMENT_BF16, 0, 2, 0};
    put(header + 8, 4, 2), put(header + 12, 4, HEADER), put(header + 16, 8, 1);
    for (size_t i = 0; i < 8; i++) put(header + 24 + 4 * i, 4, words[i]);
    put(header + 56, 8, crc64(data, sizeof data));
    header_seal(header);
    fv_cache *cache = test_cache_make(&config, tables.table[0]),
             *into = test_cache_make(&config, tables.table[tables.count - 1]);
    medium m = medium_make(&config);
    fv_store store = store_of(&m);
    float got[6];
    assert_int_equal(fv_cache_append(cache, 2, keys, 3, values, 3), FV_OK);
    assert_int_equal(fv_cache_save(cache, &store, NULL), FV_OK);
    assert_memory_equal(m.bytes, header, HEADER);
    assert_memory_equal(m.bytes + DATA, data, sizeof data);
    assert_int_equal(fv_cache_restore(into, &store, NULL), FV_OK);
    assert_true(test_cache_equals(into, cache));
    assert_int_equal(fv_cache_read(into, 0, 0, 2, got, NULL), FV_OK);
    for (size_t i = 0; i < 6; i++) assert_true(got[i] == keys[i]);
    put(m.bytes + 8, 4, 1); /* the first version cannot hold these types */
    header_seal(m.bytes);
    assert_int_equal(fv_cache_restore(into, &store, NULL), FV_ERROR_CORRUPT);
    free(cache);
    free(into);
    free(m.bytes);
}

/* A store that fails, or that reads differently the second time. */
static void test_failing_store(void **state) {
    (void)state;
    test_random random = test_random_make(10);
    history h = history_make(&small, 3, 2, false, &random);
    fv_store store = store_of(&h.medium);
    h.medium.read_limit = DATA;
    assert_int_equal(fv_cache_restore(h.into, &store, NULL), FV_ERROR_FILE);
    assert_int_equal(fv_cache_save(h.after, &store, NULL), FV_ERROR_FILE); /* not over what it could not read */
    h.medium.read_limit = SIZE_MAX;
    assert_int_equal(restore_checked(&h, &h.medium), 1);
    h.medium.reads = 0, h.medium.rot_at = 3; /* two headers and one piece, then the piece again */
    assert_int_equal(fv_cache_restore(h.into, &store, NULL), FV_ERROR_CORRUPT);
    assert_int_equal(fv_cache_tokens(h.into), 0);
    history_free(&h);
}

/* The newest state is given up for the one before it, and only if that one is whole. */
static void test_forget(void **state) {
    (void)state;
    test_random random = test_random_make(13);
    history h = history_make(&small, 3, 2, true, &random);
    fv_store store = store_of(&h.medium);
    medium before = medium_copy(&h.medium);
    assert_int_equal(fv_cache_save_forget(&store, 2), FV_OK);
    assert_int_equal(fv_cache_save_forget(&store, 0), FV_ERROR_CORRUPT);
    h.medium.bytes[DATA] ^= 1;
    assert_int_equal(fv_cache_save_forget(&store, 1), FV_ERROR_CORRUPT);
    h.medium.bytes[DATA] ^= 1;
    assert_memory_equal(h.medium.bytes, before.bytes, before.count);
    assert_int_equal(restore_checked(&h, &h.medium), 2);
    size_t syncs = h.medium.syncs;
    assert_int_equal(fv_cache_save_forget(&store, 1), FV_OK);
    assert_int_equal(h.medium.syncs, syncs + 1);
    assert_int_equal(restore_checked(&h, &h.medium), 1);
    assert_int_equal(fv_cache_save_forget(&store, 1), FV_OK);
    uint64_t sequence = 0;
    assert_int_equal(fv_cache_save(h.after, &store, &sequence), FV_OK); /* in the place of the one given up */
    assert_true(sequence == 2 && restore_checked(&h, &h.medium) == 2);
    free(before.bytes);
    history_free(&h);
}

static void test_arguments(void **state) {
    (void)state;
    test_random random = test_random_make(11);
    history h = history_make(&small, 3, 2, false, &random);
    fv_store store = store_of(&h.medium), no_read = store, no_write = store;
    fv_cache_config config = small;
    uint64_t bytes = 7;
    no_read.read = NULL, no_write.write = NULL;
    assert_int_equal(fv_cache_save(NULL, &store, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save(h.into, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save(h.into, &no_read, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save(h.into, &no_write, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_restore(NULL, &store, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_restore(h.into, NULL, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_restore(h.into, &no_read, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save_shape(NULL, &config), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save_shape(&store, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save_forget(NULL, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save_forget(&no_write, 0), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save_size(&config, NULL), FV_ERROR_ARGUMENT);
    assert_int_equal(fv_cache_save_size(NULL, &bytes), FV_ERROR_ARGUMENT);
    config.head_dim = 0;
    assert_int_equal(fv_cache_save_size(&config, &bytes), FV_ERROR_ARGUMENT);
    assert_int_equal(bytes, 7);
    memset(h.medium.bytes, 0, h.medium.count);
    assert_int_equal(fv_cache_save_shape(&store, &config), FV_ERROR_CORRUPT);
    assert_int_equal(fv_cache_restore(h.into, &store, NULL), FV_ERROR_CORRUPT);
    assert_int_equal(config.head_dim, 0);
    history_free(&h);
}

/* Wide, long, and sampled: ends that are missing, bits that are flipped. */
static void test_big(void **state) {
    (void)state;
    test_random random = test_random_make(12);
    fv_cache_config config = {.kv_heads = 3,
                              .head_dim = 1024,
                              .max_tokens = 150,
                              .key_type = FV_ELEMENT_F32,
                              .value_type = FV_ELEMENT_Q8_0,
                              .landmark_tokens = 64};
    history h = history_make(&config, 149, 1, true, &random);
    size_t whole = h.medium.count, found[3] = {0};
    assert_int_equal(restore_checked(&h, &h.medium), 2);
    for (int run = 0; run < 12; run++) {
        size_t bit = test_random_in(&random, 0, (uint32_t)(8 * whole - 1));
        h.medium.count = run % 2 ? whole : bit / 8;
        h.medium.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        found[restore_checked(&h, &h.medium)]++;
        h.medium.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        h.medium.count = whole;
    }
    assert_true(found[1] > 0);
    history_free(&h);
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_coarse_copies_are_made_anew),
        cmocka_unit_test(test_going_on),
        cmocka_unit_test(test_landmarks_are_rebuilt_ones),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_header_without_data),
        cmocka_unit_test(test_other_configurations),
        cmocka_unit_test(test_larger_context),
        cmocka_unit_test(test_bytes_of_version_1),
        cmocka_unit_test(test_bytes_of_version_2),
        cmocka_unit_test(test_failing_store),
        cmocka_unit_test(test_forget),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_big),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
