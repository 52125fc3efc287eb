/* special_split.c - every place knows its longest token; the longest of all is served first, and a place whose token
 * overlaps with a served one tries its next shorter one. Same result as one search through the text for each token. */
#include "text/special_split.h"
#include "platform/array.h"
#include "text/heap.h"
#include <stdlib.h>
#include <string.h>

static int compare_texts(const fv_special_entry *a, const fv_special_entry *b) {
    int order = memcmp(a->bytes, b->bytes, a->length < b->length ? a->length : b->length);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static int compare_entries(const void *left, const void *right) {
    const fv_special_entry *a = left, *b = right;
    int order = compare_texts(a, b);
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

/* Of entries with one text the first id stays. */
static void drop_duplicates(fv_special_split *split) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < split->count; i++)
        if (kept == 0 || compare_texts(split->entries + kept - 1, split->entries + i) != 0)
            split->entries[kept++] = split->entries[i];
    split->count = kept;
}

static bool starts_with(const fv_special_entry *entry, const fv_special_entry *start) {
    return entry->length > start->length && memcmp(entry->bytes, start->bytes, start->length) == 0;
}

/* In byte order, whatever starts with an entry follows it directly: going back along the links always leads there. */
static void link_entries(fv_special_split *split) {
    for (uint32_t i = 0; i < split->count; i++) {
        int32_t candidate = (int32_t)i - 1;
        while (candidate >= 0 && !starts_with(split->entries + i, split->entries + candidate))
            candidate = split->entries[candidate].shorter;
        split->entries[i].shorter = candidate;
    }
}

static void index_first_bytes(fv_special_split *split) {
    uint32_t at = 0;
    for (uint32_t byte = 0; byte < 257; byte++) {
        while (at < split->count && (unsigned char)split->entries[at].bytes[0] < byte) at++;
        split->first[byte] = at;
    }
}

static bool is_special(const fv_token *token) {
    return token->length > 0 && token->kinds & (FV_TOKEN_CONTROL | FV_TOKEN_USER_DEFINED | FV_TOKEN_UNKNOWN);
}

fv_status fv_special_split_open(fv_special_split *split, const fv_vocabulary *vocabulary) {
    size_t count = 0;
    for (uint32_t id = 0; id < vocabulary->count; id++) count += is_special(vocabulary->tokens + id);
    fv_special_split made = {.vocabulary = vocabulary};
    made.entries = fv_array_new(count, sizeof *made.entries);
    if (!made.entries) return FV_ERROR_MEMORY;
    for (uint32_t id = 0; id < vocabulary->count; id++) {
        const fv_token *token = vocabulary->tokens + id;
        if (!is_special(token)) continue;
        made.entries[made.count++] = (fv_special_entry){token->bytes, token->length, (int32_t)id, -1};
    }
    qsort(made.entries, made.count, sizeof *made.entries, compare_entries);
    drop_duplicates(&made);
    link_entries(&made);
    index_first_bytes(&made);
    *split = made;
    return FV_OK;
}

void fv_special_split_close(fv_special_split *split) {
    free(split->entries);
    *split = (fv_special_split){0};
}

/* Scratch of one search. */
typedef struct split_run {
    const fv_special_split *split;
    const char *text;
    size_t length;
    bool parse_special;
    const fv_text_spans *plain;
    int32_t *marks;
    fv_heap heap;
} split_run;

/* Whether [begin, end) touches a part whose text is only text. */
static bool is_plain(const fv_text_spans *plain, size_t begin, size_t end) {
    size_t low = 0, high = plain ? plain->count : 0;
    while (low < high) { /* the first span that ends after `begin` */
        size_t middle = low + (high - low) / 2;
        if (plain->spans[middle].end <= begin)
            low = middle + 1;
        else
            high = middle;
    }
    return plain && low < plain->count && plain->spans[low].begin < end;
}

/* Whether the text at `at`, which spells the entry, is that token. */
static bool is_wanted(const split_run *run, int32_t entry, size_t at) {
    const fv_special_entry *found = run->split->entries + entry;
    if (!(run->split->vocabulary->tokens[found->id].kinds & (FV_TOKEN_CONTROL | FV_TOKEN_UNKNOWN))) return true;
    return run->parse_special && !is_plain(run->plain, at, at + found->length);
}

/* First entry in [low, high) whose byte at `depth` is >= byte; all of them have one. */
static uint32_t lower_bound(const fv_special_split *split, uint32_t low, uint32_t high, uint32_t depth, uint32_t byte) {
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((unsigned char)split->entries[middle].bytes[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest wanted entry that the text has at `at`; -1 if none. Narrows the sorted list byte by byte. */
static int32_t find_longest(const split_run *run, size_t at) {
    const fv_special_split *split = run->split;
    uint32_t byte = (unsigned char)run->text[at], low = split->first[byte], high = split->first[byte + 1];
    int32_t found = -1;
    for (uint32_t depth = 1; low < high; depth++) {
        if (split->entries[low].length == depth) {
            if (is_wanted(run, (int32_t)low, at)) found = (int32_t)low;
            low++;
        }
        if (depth >= run->length - at) break;
        byte = (unsigned char)run->text[at + depth];
        low = lower_bound(split, low, high, depth, byte);
        high = lower_bound(split, low, high, depth, byte + 1);
    }
    return found;
}

static fv_status offer(split_run *run, uint32_t at, int32_t entry) {
    while (entry >= 0 && !is_wanted(run, entry, at)) entry = run->split->entries[entry].shorter;
    if (entry < 0) return FV_OK;
    uint32_t length = run->split->entries[entry].length;
    fv_heap_item item = {.key = (uint64_t)(UINT32_MAX - length) << 32 | at, .bytes = length, .id = entry};
    return fv_heap_push(&run->heap, item);
}

static bool is_space(char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static void accept(split_run *run, uint32_t at, const fv_special_entry *entry) {
    size_t end = at + (size_t)entry->length;
    run->marks[at] = entry->id + 1;
    for (size_t i = at + 1; i < end; i++) run->marks[i] = FV_MARK_INSIDE;
    if (!(run->split->vocabulary->tokens[entry->id].kinds & FV_TOKEN_STRIPS_RIGHT)) return;
    for (; end < run->length && run->marks[end] == FV_MARK_TEXT && is_space(run->text[end]); end++)
        run->marks[end] = FV_MARK_INSIDE;
}

/* What was accepted before is at least as long as what is served now: if the two overlap, it covers an end. */
static fv_status serve(split_run *run) {
    fv_status status = FV_OK;
    fv_heap_item item;
    while (status == FV_OK && fv_heap_pop(&run->heap, &item)) {
        uint32_t at = (uint32_t)item.key;
        const fv_special_entry *entry = run->split->entries + item.id;
        if (run->marks[at] != FV_MARK_TEXT) continue;
        if (run->marks[at + item.bytes - 1] == FV_MARK_TEXT) {
            accept(run, at, entry);
        } else {
            status = offer(run, at, entry->shorter);
        }
    }
    return status;
}

fv_status fv_special_split_mark(const fv_special_split *split, const char *text, size_t length, bool parse_special,
                                const fv_text_spans *plain, int32_t **marks) {
    split_run run = {.split = split, .text = text, .length = length, .parse_special = parse_special, .plain = plain};
    fv_status status = FV_OK;
    for (uint32_t at = 0; at < length && status == FV_OK; at++) status = offer(&run, at, find_longest(&run, at));
    bool found = run.heap.count > 0;
    if (status == FV_OK && found) {
        run.marks = fv_array_new(length, sizeof *run.marks);
        status = run.marks ? serve(&run) : FV_ERROR_MEMORY;
    }
    fv_heap_free(&run.heap);
    if (status != FV_OK) {
        free(run.marks);
        return status;
    }
    *marks = run.marks;
    return FV_OK;
}
