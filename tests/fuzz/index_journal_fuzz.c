/* index_journal_fuzz.c - any bytes as the journal of an index: refused with a message, or calls that are made, or
 * refused as a call of a program would be. The first byte says whether checksums are made right (1): else nothing but
 * the first of them would ever be met. */
#include "index/index_journal.h"
#include "index/row_change.h"
#include "llm/hash64.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    if (!(condition)) abort()

enum { DIM = 3, MOST_ROWS = 256 };

/* As far as lengths lead. */
static void mend(uint8_t *bytes, size_t count) {
    if (count < FV_JOURNAL_HEADER) return;
    uint64_t base = fv_le64_get(bytes + 16);
    fv_le64_put(bytes + 56, fv_hash64(0, bytes, 56));
    for (size_t at = FV_JOURNAL_HEADER; count - at >= FV_JOURNAL_RECORD;) {
        uint8_t *head = bytes + at, *body = head + FV_JOURNAL_RECORD;
        uint64_t rows = fv_le64_get(head + 16), gone = fv_le64_get(head + 24);
        if (rows > count || gone > count) return;
        size_t vectors = (size_t)rows * DIM * sizeof(float), rest = -vectors % 8;
        size_t all = (size_t)(rows + gone) * sizeof(uint64_t) + vectors + rest;
        if (all > count - at - FV_JOURNAL_RECORD) return;
        uint64_t sum = fv_hash64(fv_hash64(0, body, (size_t)rows * 8), body + rows * 8, (size_t)gone * 8);
        sum = fv_hash64(sum, body + (rows + gone) * 8, vectors);
        fv_le64_put(head + 32, fv_hash64(sum, body + all - rest, rest));
        fv_le64_put(head + 40, fv_hash64(base, head, 40));
        at += FV_JOURNAL_RECORD + all;
    }
}

static void make_call(fv_index *index, const fv_journal_call *call) {
    fv_row_change change = {call->rows, call->vectors, call->labels, call->gone, call->removed, NULL};
    fv_index_info info[2];
    fv_message message = {""};
    if (call->rows > MOST_ROWS ||
        fv_index_inspect(call->rows, DIM, call->vectors, FV_INDEX_LARGEST, "vector", NULL) != FV_OK)
        return;
    fv_index_info_get(index, info);
    fv_status status = fv_index_apply(index, &change, &message);
    fv_index_info_get(index, info + 1);
    REQUIRE(status == FV_OK || (status == FV_ERROR_ARGUMENT && message.text[0]));
    REQUIRE(info[1].rows == info[0].rows + (status == FV_OK ? call->rows - call->gone : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fv_message message = {""};
    fv_journal_reader reader;
    fv_index_config config;
    fv_index_link_config link;
    fv_index *index = NULL;
    if (size < 1) return 0;
    size_t count = size - 1;
    uint8_t *bytes = malloc(count ? count : 1);
    fv_index_config_default(DIM, FV_INDEX_L2, &config);
    fv_index_link_config_default(&link);
    if (!bytes || fv_index_make(&index, &config, NULL) != FV_OK) abort();
    REQUIRE(fv_index_link(index, &link, NULL, NULL) == FV_OK);
    memcpy(bytes, data + 1, count);
    if (data[0] & 1) mend(bytes, count);
    fv_status status = fv_journal_begin(&reader, bytes, count, DIM, "fuzz", &message);
    for (bool is_there = status == FV_OK; is_there;) {
        fv_journal_call call;
        status = fv_journal_next(&reader, &call, &is_there, &message);
        REQUIRE(status == FV_OK || !is_there);
        REQUIRE(reader.at <= reader.count && reader.count <= count);
        if (is_there) make_call(index, &call);
    }
    REQUIRE((status == FV_OK) == (message.text[0] == 0));
    REQUIRE(status == FV_OK || strncmp(message.text, "fuzz: ", 6) == 0);
    fv_index_close(index);
    free(bytes);
    return 0;
}
