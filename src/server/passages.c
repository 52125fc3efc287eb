/* passages.c - lists of pages, and the places of tokens in a text that may differ from their pieces by white space. */
#include "passages.h"
#include <stdlib.h>
#include <string.h>

enum { RESYNC_BYTES = 64 /* that a normalised text may be ahead of its tokens */ };

void fv_passages_free(fv_passages *passages) {
    free(passages->items);
    free(passages->begins);
    free(passages->characters);
    *passages = (fv_passages){0};
}

static size_t list_items(const fv_passages *passages) { return (1 + (size_t)passages->layers) * passages->most; }

static bool reserve(fv_passages *passages) {
    size_t room = passages->room;
    if (passages->count < room) return true;
    room = room > 0 ? 2 * room : 64;
    fv_reads_passage *items = realloc(passages->items, room * list_items(passages) * sizeof *items);
    if (items) passages->items = items;
    size_t *begins = realloc(passages->begins, room * sizeof *begins);
    if (begins) passages->begins = begins;
    uint64_t *characters = realloc(passages->characters, room * sizeof *characters);
    if (characters) passages->characters = characters;
    if (!items || !begins || !characters) return false;
    passages->room = room;
    return true;
}

uint64_t fv_characters(const char *bytes, size_t length) {
    uint64_t count = 0;
    for (size_t i = 0; i < length; i++) count += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return count;
}

fv_status fv_passages_add(fv_passages *passages, fv_read_watch *watch, size_t row, const fv_text *text) {
    if (!reserve(passages)) return FV_ERROR_MEMORY;
    size_t last = passages->count, begin = last > 0 ? passages->begins[last - 1] : 0;
    fv_reads_passage *items = passages->items + last * list_items(passages);
    passages->begins[last] = text->length;
    passages->characters[last] = last > 0 ? passages->characters[last - 1] : 0;
    if (text->length > begin) passages->characters[last] += fv_characters(text->bytes + begin, text->length - begin);
    (void)fv_read_watch_top(watch, row, FV_READ_ALL_LAYERS, items, passages->most);
    for (uint32_t layer = 0; layer < passages->layers; layer++)
        (void)fv_read_watch_top(watch, row, layer, items + (1 + (size_t)layer) * passages->most, passages->most);
    passages->count++;
    return FV_OK;
}

/* ---- places ---- */

/* Bytes of `text` from `at` on that the piece stands for: its own, those without a blank that was put in front, or,
 * where the text was normalised, those up to the end of the next place with the piece. A piece that is nowhere has
 * none. */
static size_t bytes_of(const fv_text *text, size_t at, const fv_text *piece) {
    const char *bytes = piece->bytes;
    size_t left = text->length - at, length = piece->length;
    if (length == 0) return 0;
    if (length <= left && memcmp(text->bytes + at, bytes, length) == 0) return length;
    if (bytes[0] == ' ' && length - 1 <= left && memcmp(text->bytes + at, bytes + 1, length - 1) == 0)
        return length - 1;
    for (size_t skip = 1; skip <= RESYNC_BYTES && skip + length <= left; skip++)
        if (memcmp(text->bytes + at + skip, bytes, length) == 0) return skip + length;
    return 0;
}

fv_status fv_prompt_place(fv_prompt *prompt, const fv_tokenizer *tokenizer) {
    size_t count = prompt->tokens.count, at = 0;
    uint64_t characters = 0;
    fv_text piece = {0};
    fv_status status = FV_OK;
    free(prompt->places);
    prompt->places = calloc(count + 1, sizeof *prompt->places);
    if (!prompt->places) return FV_ERROR_MEMORY;
    for (size_t i = 0; i < count && status == FV_OK; i++) {
        prompt->places[i] = characters;
        piece.length = 0;
        status = fv_tokenizer_piece(tokenizer, prompt->tokens.ids[i], true, &piece);
        size_t length = status == FV_OK ? bytes_of(&prompt->text, at, &piece) : 0;
        if (length > 0) characters += fv_characters(prompt->text.bytes + at, length);
        at += length;
    }
    prompt->places[count] = fv_characters(prompt->text.bytes ? prompt->text.bytes : "", prompt->text.length);
    fv_text_free(&piece);
    return status;
}

/* Where the token at a position begins; the answer's follow on the prompt's. */
static uint64_t place_of(const fv_passages *passages, const fv_prompt *prompt, size_t position) {
    size_t count = prompt->tokens.count;
    if (position <= count) return prompt->places[position];
    size_t token = position - count < passages->count ? position - count : passages->count - 1;
    return prompt->places[count] + passages->characters[token];
}

json_t *fv_passages_json(const fv_passages *passages, const fv_prompt *prompt, size_t token, size_t list) {
    const fv_reads_passage *items = passages->items + token * list_items(passages) + list * passages->most;
    json_t *made = json_array();
    for (size_t i = 0; made && i < passages->most && items[i].share > 0; i++) {
        uint32_t position = items[i].position;
        uint64_t begin = place_of(passages, prompt, position);
        uint64_t end = place_of(passages, prompt, (size_t)position + FV_PAGE_TOKENS);
        json_t *one = json_pack("{s:I, s:I, s:I, s:o}", "position", (json_int_t)position, "begin", (json_int_t)begin,
                                "end", (json_int_t)end, "share", fv_json_real((double)items[i].share));
        if (json_array_append_new(made, one) == 0) continue;
        json_decref(made);
        return NULL;
    }
    return made;
}
