/* jinja_room.h - memory with a bound, and the one way out of whatever went wrong: a fault leaves by longjmp to where
 * the room was entered (template.c). Nothing on the way holds anything but memory of the room, which goes as a
 * whole. */
#ifndef FV_JINJA_ROOM_H
#define FV_JINJA_ROOM_H

#include "fovea/message.h"
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fv_jinja_chunk fv_jinja_chunk;

typedef struct fv_jinja_room {
    jmp_buf out;
    fv_jinja_chunk *chunk; /* the newest; others after it */
    size_t left;           /* bytes that may still be taken from the system */
    uint64_t steps;        /* that may still be made */
    uint32_t depth;        /* of what is going on inside each other */
    uint32_t line;         /* of the template, for messages; 0: none */
    fv_status status;
    fv_message *message;
} fv_jinja_room;

enum { FV_JINJA_DEPTH = 500 }; /* of statements, expressions, calls and values inside each other, all together */

/* 16-aligned and zeroed; never NULL. */
void *fv_jinja_take(fv_jinja_room *room, size_t count, size_t size);

/* One item more of an array of `count` that has room for *capacity: the array, or its copy with more room. */
void *fv_jinja_grow(fv_jinja_room *room, void *items, size_t count, size_t *capacity, size_t size);

void fv_jinja_room_free(fv_jinja_room *room);

/* "line N: ..."; does not return. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
_Noreturn void
fv_jinja_fail(fv_jinja_room *room, fv_status status, const char *format, ...);

/* Work of that many steps: a template that runs for long is stopped. */
void fv_jinja_work(fv_jinja_room *room, uint64_t steps);

/* Around whatever may nest. */
void fv_jinja_enter(fv_jinja_room *room);
static inline void fv_jinja_leave(fv_jinja_room *room) { room->depth--; }

#endif
