/* jinja_room.c - chunks that grow, and the fault. */
#include "jinja/jinja_room.h"
#include "numeric/size.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16, FIRST_BYTES = 4096, CHUNK_BYTES = 1 << 18 };

struct fv_jinja_chunk {
    fv_jinja_chunk *next;
    size_t bytes, used;
    max_align_t memory[];
};

_Noreturn void fv_jinja_fail(fv_jinja_room *room, fv_status status, const char *format, ...) {
    char text[FV_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (room->line > 0)
        (void)fv_message_set(room->message, status, "line %u: %.480s", room->line, text);
    else
        (void)fv_message_set(room->message, status, "%s", text);
    room->status = status;
    longjmp(room->out, 1);
}

static _Noreturn void fail_memory(fv_jinja_room *room) {
    fv_jinja_fail(room, FV_ERROR_MEMORY, "the template wants more memory than it may have");
}

/* A chunk with room for `bytes`; one chunk holds the arrays of a small template. */
static void add_chunk(fv_jinja_room *room, size_t bytes) {
    size_t size = room->chunk ? 2 * room->chunk->bytes : FIRST_BYTES, whole = sizeof(fv_jinja_chunk);
    if (size > CHUNK_BYTES) size = CHUNK_BYTES;
    if (size < bytes) size = bytes;
    if (!fv_size_add(&whole, size, 1, ALIGN) || whole > room->left) fail_memory(room);
    fv_jinja_chunk *chunk = malloc(whole);
    if (!chunk) fail_memory(room);
    *chunk = (fv_jinja_chunk){.next = room->chunk, .bytes = size};
    room->left -= whole;
    room->chunk = chunk;
}

void *fv_jinja_take(fv_jinja_room *room, size_t count, size_t size) {
    size_t bytes = 0;
    if (!fv_size_add(&bytes, count, size, ALIGN)) fail_memory(room);
    if (!room->chunk || bytes > room->chunk->bytes - room->chunk->used) add_chunk(room, bytes);
    void *taken = (char *)room->chunk->memory + room->chunk->used;
    room->chunk->used += bytes;
    memset(taken, 0, bytes);
    fv_jinja_work(room, bytes / 256);
    return taken;
}

void *fv_jinja_grow(fv_jinja_room *room, void *items, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return items;
    size_t more = *capacity > 0 ? *capacity : 4;
    if (!fv_size_add(&more, *capacity, 1, 1)) fail_memory(room);
    void *grown = fv_jinja_take(room, more, size);
    if (count > 0) memcpy(grown, items, count * size);
    *capacity = more;
    return grown;
}

void fv_jinja_room_free(fv_jinja_room *room) {
    for (fv_jinja_chunk *chunk = room->chunk, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    room->chunk = NULL;
}

void fv_jinja_work(fv_jinja_room *room, uint64_t steps) {
    if (steps > room->steps)
        fv_jinja_fail(room, FV_ERROR_FULL, "the template takes more steps than it may: does it end?");
    room->steps -= steps;
}

void fv_jinja_enter(fv_jinja_room *room) {
    if (room->depth >= FV_JINJA_DEPTH)
        fv_jinja_fail(room, FV_ERROR_FULL, "more than %d things inside each other", FV_JINJA_DEPTH);
    room->depth++;
    fv_jinja_work(room, 1);
}
