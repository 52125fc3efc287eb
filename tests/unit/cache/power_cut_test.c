/* power_cut_test.c - a cache saved on simulated devices that lose power at every operation: disks with a volatile write
 * cache, and flash that is erased by the sector. After the restart there is the old state or the new one, never a
 * mixture, and saving goes on. */
#include "support/cache_state.h"
#include "support/random.h"
#include "support/tables.h"
#include <stdio.h>

enum { PIECE = 256, SECTOR = 4096, NEVER = INT32_MAX };

static test_tables tables;

/* How a device that loses power leaves what was under way. */
typedef enum cut_kind {
    CUT_NOTHING, /* none of it arrived */
    CUT_ALL,     /* all of it arrived, and nobody was told */
    CUT_SOME,    /* any part of it, in any order */
    CUT_TORN,    /* as CUT_SOME, and the block under way is part old, part new */
    CUT_GARBAGE, /* as CUT_SOME, and the block under way is neither */
    CUT_KINDS
} cut_kind;

/* A device of `bytes` bytes. Operations are counted; number `cut_at` (0: the first) is under way when the power fails,
 * and those after it fail. */
typedef struct device {
    size_t bytes, block_bytes;
    unsigned char *stored;  /* survives */
    unsigned char *visible; /* what reads see; the disk's differs from `stored` by what is in its write cache */
    int32_t operations, cut_at;
    cut_kind kind;
    test_random random;
} device;

static device device_make(const fv_cache_config *config, size_t block_bytes, test_random random) {
    uint64_t bytes = 0;
    assert_int_equal(fv_cache_save_size(config, &bytes), FV_OK);
    device d = {.bytes = (size_t)bytes, .block_bytes = block_bytes, .cut_at = NEVER, .random = random};
    d.stored = calloc(d.bytes, 1);
    d.visible = calloc(d.bytes, 1);
    assert_true(d.stored && d.visible && d.bytes % block_bytes == 0);
    return d;
}

static void device_free(device *d) {
    free(d->stored);
    free(d->visible);
}

static void device_copy(device *to, const device *from) {
    memcpy(to->stored, from->stored, from->bytes);
    memcpy(to->visible, from->visible, from->bytes);
    to->operations = 0;
    to->cut_at = NEVER;
}

/* Whether the power holds for this operation, and for the one under way when it fails. */
static bool has_power(const device *d) { return d->operations < d->cut_at; }
static bool is_under_way(const device *d) { return d->operations == d->cut_at; }

static bool coin(device *d) { return test_random_u32(&d->random) & 1; }

/* Each byte of a block old, new or, if the block is torn to pieces, any. */
static void block_tear(device *d, unsigned char *old, const unsigned char *new) {
    size_t prefix = test_random_in(&d->random, 0, (uint32_t)d->block_bytes);
    bool is_prefix = coin(d);
    for (size_t i = 0; i < d->block_bytes; i++) {
        if (d->kind == CUT_GARBAGE)
            old[i] = (unsigned char)test_random_u32(&d->random);
        else if (is_prefix ? i < prefix : coin(d))
            old[i] = new[i];
    }
}

/* --- a disk: writes may stay in its cache, and leave it in any order, until sync ------------------------------------
 */

/* `touched` is where the write under way wanted to go; SIZE_MAX: none was. */
static void disk_lose_power(device *d, size_t touched) {
    for (size_t block = 0; block < d->bytes; block += d->block_bytes) {
        unsigned char *stored = d->stored + block;
        bool torn = touched / d->block_bytes == block / d->block_bytes && d->kind >= CUT_TORN;
        bool arrived = d->kind == CUT_ALL || (d->kind >= CUT_SOME && coin(d));
        if (torn)
            block_tear(d, stored, d->visible + block);
        else if (arrived)
            memcpy(stored, d->visible + block, d->block_bytes);
    }
    memcpy(d->visible, d->stored, d->bytes);
}

static fv_status disk_read(void *context, uint64_t offset, void *bytes, size_t count) {
    device *d = context;
    assert_true(offset < d->bytes && count <= d->bytes - offset);
    memcpy(bytes, d->visible + offset, count);
    return FV_OK;
}

static fv_status disk_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    device *d = context;
    assert_true(offset < d->bytes && count <= d->bytes - offset);
    if (d->operations > d->cut_at) return FV_ERROR_FILE;
    memcpy(d->visible + offset, bytes, count);
    if (is_under_way(d)) disk_lose_power(d, (size_t)offset);
    return d->operations++ < d->cut_at ? FV_OK : FV_ERROR_FILE;
}

static fv_status disk_sync(void *context) {
    device *d = context;
    if (d->operations > d->cut_at) return FV_ERROR_FILE;
    if (is_under_way(d))
        disk_lose_power(d, SIZE_MAX);
    else
        memcpy(d->stored, d->visible, d->bytes);
    return d->operations++ < d->cut_at ? FV_OK : FV_ERROR_FILE;
}

/* Says that all has arrived when nothing has. */
static fv_status disk_sync_lie(void *context) { return (void)context, FV_OK; }

/* --- flash: a sector is erased to ones, a page then clears bits. Kept inverted, so that erased bytes read as zeros
 * ---- */

/* An erase that was cut leaves any byte as it was, erased or anything. */
static void flash_erase(device *d, size_t sector) {
    if (d->operations > d->cut_at) return;
    for (size_t i = 0; i < SECTOR; i++) {
        unsigned char *byte = d->stored + sector + i;
        bool arrives = has_power(d) || d->kind == CUT_ALL || (d->kind >= CUT_SOME && coin(d));
        if (!has_power(d) && d->kind == CUT_GARBAGE && coin(d))
            *byte = (unsigned char)test_random_u32(&d->random);
        else if (arrives)
            *byte = 0xFF;
    }
    d->operations++;
}

/* A page that was cut has its first bytes, or some of its bits. */
static void flash_program(device *d, size_t offset, const unsigned char *bytes, size_t count) {
    if (d->operations > d->cut_at) return;
    size_t prefix = coin(d) ? test_random_in(&d->random, 0, (uint32_t)count) : 0;
    for (size_t i = 0; i < count; i++) {
        unsigned char cleared = bytes[i];              /* inverted: a one is a bit to clear */
        assert_int_equal(d->stored[offset + i], 0xFF); /* was erased */
        if (!has_power(d) && (prefix == 0 || d->kind < CUT_SOME))
            cleared &= (unsigned char)(d->kind == CUT_NOTHING ? 0
                                       : d->kind == CUT_ALL   ? 0xFF
                                                              : test_random_u32(&d->random));
        if (!has_power(d) && d->kind >= CUT_SOME && prefix > 0 && i >= prefix) cleared = 0;
        d->stored[offset + i] = (unsigned char)~cleared;
    }
    d->operations++;
}

static fv_status flash_read(void *context, uint64_t offset, void *bytes, size_t count) {
    device *d = context;
    assert_true(offset < d->bytes && count <= d->bytes - offset);
    for (size_t i = 0; i < count; i++) ((unsigned char *)bytes)[i] = (unsigned char)~d->stored[offset + i];
    return FV_OK;
}

/* Headers and slots begin with a sector, and a save writes a sector from its begin: that is where it is erased. */
static fv_status flash_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    device *d = context;
    assert_true(offset < d->bytes && count <= d->bytes - offset);
    if (offset % SECTOR == 0) flash_erase(d, (size_t)offset);
    flash_program(d, (size_t)offset, bytes, count);
    return d->operations <= d->cut_at ? FV_OK : FV_ERROR_FILE;
}

/* --- the tests ------------------------------------------------------------------------------------------------------
 */

typedef struct device_type {
    const char *name;
    size_t block_bytes;
    fv_store store;
} device_type;

static const device_type devices[] = {
    {"disk of 256-byte blocks", 256, {NULL, disk_read, disk_write, disk_sync}},
    {"disk of 512-byte blocks", 512, {NULL, disk_read, disk_write, disk_sync}},
    {"disk of 4096-byte blocks", 4096, {NULL, disk_read, disk_write, disk_sync}},
    {"flash", SECTOR, {NULL, flash_read, flash_write, NULL}},
    {"disk of 512-byte blocks that lies about sync", 512, {NULL, disk_read, disk_write, disk_sync_lie}},
};
/* Behind the last save that a lying disk has really stored nothing is promised: no life of cuts for it. */
enum { DEVICES = sizeof devices / sizeof *devices, TRUE_DEVICES = DEVICES - 1 };

static device device_of_type(const device_type *type, const fv_cache_config *config, test_random random) {
    device d = device_make(config, type->block_bytes, random);
    if (type->store.read == flash_read) memset(d.stored, 0xFF, d.bytes);
    return d;
}

static fv_cache_config config_of(uint32_t run) {
    return (fv_cache_config){.kv_heads = 2,
                             .head_dim = 24,
                             .max_tokens = 48,
                             .key_type = run % 3,
                             .value_type = run / 3 % 3,
                             .landmark_tokens = run % 2 ? 8 : 0};
}

/* A save of `after` over `before`, cut at every operation in every way; the slot that it takes holds an older state,
 * whose header must not vouch for the new data. */
static void test_every_cut(void **state) {
    (void)state;
    test_random random = test_random_make(1);
    for (size_t type = 0; type < DEVICES; type++) {
        fv_cache_config config = config_of((uint32_t)type);
        fv_cache *oldest = test_cache_make(&config, tables.table[0]),
                 *before = test_cache_make(&config, tables.table[0]);
        fv_cache *after = test_cache_make(&config, tables.table[0]), *into = test_cache_make(&config, tables.table[0]);
        test_cache_append(oldest, 48, &random);
        test_cache_append(before, 31, &random);
        test_cache_append(after, 48, &random);
        device whole = device_of_type(&devices[type], &config, random),
               d = device_of_type(&devices[type], &config, random);
        fv_store store = devices[type].store;
        store.context = &whole;
        assert_int_equal(fv_cache_save(oldest, &store, NULL), FV_OK);
        assert_int_equal(fv_cache_save(before, &store, NULL), FV_OK);
        if (devices[type].store.sync) assert_int_equal(disk_sync(&whole), FV_OK);
        store.context = &d;
        size_t cuts = 0, found[2] = {0};
        bool done = false;
        for (int32_t cut = 0; !done; cut++)
            for (uint32_t way = 0; way < 3 * CUT_KINDS; way++, cuts++) {
                device_copy(&d, &whole);
                d.cut_at = cut;
                d.kind = way % CUT_KINDS;
                uint64_t sequence = 0, restored = 0;
                done = fv_cache_save(after, &store, &sequence) == FV_OK;
                assert_int_equal(sequence, done ? 3 : 0);
                d.cut_at = NEVER;
                if (done && store.sync) disk_lose_power(&d, SIZE_MAX); /* once the save has returned: it is there */
                assert_int_equal(fv_cache_restore(into, &store, &restored), FV_OK);
                assert_true(restored == 3 || (restored == 2 && (!done || store.sync == disk_sync_lie)));
                assert_true(test_cache_equals(into, restored == 3 ? after : before));
                found[restored - 2]++;
                assert_int_equal(fv_cache_save(after, &store, &sequence), FV_OK);
                assert_int_equal(fv_cache_restore(into, &store, &restored), FV_OK);
                assert_true(sequence == restored && test_cache_equals(into, after));
            }
        printf("%s: %zu cuts, %zu left the old state, %zu the new one\n", devices[type].name, cuts, found[0], found[1]);
        assert_true(cuts > 500 && found[0] > cuts / 2 && found[1] > 0);
        device_free(&whole);
        device_free(&d);
        free(oldest), free(before), free(after), free(into);
    }
}

/* A life: append, save, lose power somewhere, restart, go on. Cuts fall upon stores that earlier cuts have left.
 */
static void test_a_life_of_cuts(void **state) {
    (void)state;
    test_random random = test_random_make(2);
    for (uint32_t run = 0; run < 9 * TRUE_DEVICES; run++) {
        const device_type *type = &devices[run % TRUE_DEVICES];
        fv_cache_config config = config_of(run / TRUE_DEVICES);
        const fv_kernels *kernels = tables.table[run % tables.count];
        fv_cache *known = test_cache_make(&config, kernels), *now = test_cache_make(&config, kernels);
        fv_cache *into = test_cache_make(&config, kernels);
        device d = device_of_type(type, &config, random);
        fv_store store = type->store;
        store.context = &d;
        uint64_t sequence = 0;
        uint32_t cut_saves = 0;
        test_cache_append(now, config.max_tokens, &random);
        assert_int_equal(fv_cache_save(now, &store, &sequence), FV_OK);
        uint32_t longest = (uint32_t)d.operations;
        assert_int_equal(fv_cache_restore(known, &store, &sequence), FV_OK);
        for (uint32_t restart = 0; restart < 40; restart++) {
            uint32_t tokens = fv_cache_tokens(now);
            if (tokens == config.max_tokens) assert_int_equal(fv_cache_truncate(now, tokens /= 3), FV_OK);
            test_cache_append(now, test_random_in(&random, 0, config.max_tokens - tokens), &random);
            d.operations = 0;
            d.cut_at = (int32_t)test_random_in(&random, 0, longest + longest / 4);
            d.kind = test_random_in(&random, 0, CUT_KINDS - 1);
            uint64_t told = 0, restored = 0;
            bool done = fv_cache_save(now, &store, &told) == FV_OK;
            d.cut_at = NEVER;
            cut_saves += !done;
            assert_int_equal(fv_cache_restore(into, &store, &restored), FV_OK);
            bool is_new = restored != sequence;
            assert_true(!is_new || restored > sequence);
            assert_true(!done || (is_new && restored == told));
            assert_true(test_cache_equals(into, is_new ? now : known));
            sequence = restored;
            fv_cache *spare = known; /* what was restored is now the known state, and goes on */
            known = into;
            into = spare;
            free(now);
            now = test_cache_make(&config, kernels);
            assert_int_equal(fv_cache_restore(now, &store, &restored), FV_OK);
            assert_true(restored == sequence && test_cache_equals(now, known));
        }
        assert_true(cut_saves > 5);
        device_free(&d);
        free(known), free(now), free(into);
    }
}

/* The first save of all: until it is whole there is no state, and the cache stays as it was. */
static void test_first_save(void **state) {
    (void)state;
    test_random random = test_random_make(3);
    for (size_t type = 0; type < DEVICES; type++) {
        fv_cache_config config = config_of(4);
        fv_cache *first = test_cache_make(&config, tables.table[0]), *into = test_cache_make(&config, tables.table[0]);
        fv_cache *untouched = test_cache_make(&config, tables.table[0]);
        test_cache_append(first, 40, &random);
        test_random again = random;
        test_cache_append(untouched, 5, &again);
        bool done = false;
        for (int32_t cut = 0; !done; cut++)
            for (uint32_t way = 0; way < CUT_KINDS; way++) {
                device d = device_of_type(&devices[type], &config, random);
                fv_store store = devices[type].store;
                store.context = &d;
                d.cut_at = cut;
                d.kind = way;
                done = fv_cache_save(first, &store, NULL) == FV_OK;
                d.cut_at = NEVER;
                again = random;
                assert_int_equal(fv_cache_truncate(into, 0), FV_OK);
                test_cache_append(into, 5, &again);
                fv_status status = fv_cache_restore(into, &store, NULL);
                assert_true(status == FV_OK || (status == FV_ERROR_CORRUPT && !done));
                assert_true(test_cache_equals(into, status == FV_OK ? first : untouched));
                device_free(&d);
            }
        free(first), free(into), free(untouched);
    }
}

/* A part of a device: the stores of a model's layers lie one after the other. */
typedef struct part {
    const fv_store *whole;
    uint64_t base;
} part;

static fv_status part_read(void *context, uint64_t offset, void *bytes, size_t count) {
    const part *p = context;
    return p->whole->read(p->whole->context, p->base + offset, bytes, count);
}

static fv_status part_write(void *context, uint64_t offset, const void *bytes, size_t count) {
    const part *p = context;
    return p->whole->write(p->whole->context, p->base + offset, bytes, count);
}

static fv_status part_sync(void *context) {
    const part *p = context;
    return p->whole->sync ? p->whole->sync(p->whole->context) : FV_OK;
}

enum { LAYERS = 3 };

/* What a program does after a restart: all layers to the newest state that each of them has. The number of it. */
static uint64_t layers_restore(fv_cache *const into[LAYERS], const fv_store store[LAYERS], device *d) {
    uint64_t least = UINT64_MAX, sequence[LAYERS];
    d->cut_at = NEVER;
    for (size_t layer = 0; layer < LAYERS; layer++) {
        assert_int_equal(fv_cache_restore(into[layer], &store[layer], &sequence[layer]), FV_OK);
        least = sequence[layer] < least ? sequence[layer] : least;
    }
    for (int again = 0; again < 2; again++) { /* the first time the power fails once more, somewhere */
        d->operations = 0;
        d->cut_at = again ? NEVER : (int32_t)test_random_in(&d->random, 0, 5);
        for (size_t layer = 0; layer < LAYERS; layer++) {
            fv_status status = fv_cache_save_forget(&store[layer], least);
            assert_true(status == FV_OK || (!again && status == FV_ERROR_FILE));
            if (status != FV_OK) break;
        }
    }
    for (size_t layer = 0; layer < LAYERS; layer++) {
        assert_int_equal(fv_cache_restore(into[layer], &store[layer], &sequence[layer]), FV_OK);
        assert_true(sequence[layer] == least);
    }
    return least;
}

/* The layers of a model, saved one after the other: all old or all new. */
static void test_layers(void **state) {
    (void)state;
    test_random random = test_random_make(4);
    for (size_t type = 0; type < TRUE_DEVICES; type++) {
        fv_cache_config config = config_of((uint32_t)type);
        config.max_tokens *= 2;
        device d = device_of_type(&devices[type], &config, random);
        config.max_tokens = 16;
        fv_store whole = devices[type].store, store[LAYERS];
        part parts[LAYERS];
        fv_cache *now[LAYERS], *known[LAYERS], *into[LAYERS];
        uint64_t bytes = 0, sequence = 1;
        whole.context = &d;
        assert_int_equal(fv_cache_save_size(&config, &bytes), FV_OK);
        assert_true(LAYERS * bytes <= d.bytes);
        for (size_t layer = 0; layer < LAYERS; layer++) {
            parts[layer] = (part){&whole, layer * bytes};
            store[layer] = (fv_store){&parts[layer], part_read, part_write, part_sync};
            now[layer] = test_cache_make(&config, tables.table[0]);
            known[layer] = test_cache_make(&config, tables.table[0]);
            into[layer] = test_cache_make(&config, tables.table[0]);
            assert_int_equal(fv_cache_save(known[layer], &store[layer], NULL), FV_OK);
        }
        uint32_t old_rounds = 0, rounds = 0;
        for (; rounds < 400; rounds++) {
            uint32_t tokens = test_random_in(&random, 0, 16);
            for (size_t layer = 0; layer < LAYERS; layer++) {
                assert_int_equal(fv_cache_truncate(now[layer], 0), FV_OK);
                test_cache_append(now[layer], tokens, &random);
            }
            d.operations = 0;
            d.cut_at = (int32_t)test_random_in(&random, 0, 60);
            d.kind = test_random_in(&random, 0, CUT_KINDS - 1);
            for (size_t layer = 0; layer < LAYERS; layer++)
                if (fv_cache_save(now[layer], &store[layer], NULL) != FV_OK) break;
            uint64_t restored = layers_restore(into, store, &d);
            assert_true(restored == sequence || restored == sequence + 1);
            old_rounds += restored == sequence;
            for (size_t layer = 0; layer < LAYERS; layer++) {
                assert_true(test_cache_equals(into[layer], restored == sequence ? known[layer] : now[layer]));
                assert_int_equal(fv_cache_restore(known[layer], &store[layer], NULL), FV_OK);
            }
            sequence = restored;
        }
        assert_true(old_rounds > rounds / 10 && old_rounds < rounds);
        device_free(&d);
        for (size_t layer = 0; layer < LAYERS; layer++) free(now[layer]), free(known[layer]), free(into[layer]);
    }
}

int main(void) {
    test_tables_make(&tables);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_a_life_of_cuts),
        cmocka_unit_test(test_first_save),
        cmocka_unit_test(test_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
