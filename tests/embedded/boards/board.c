/* board.c - from reset to the program and back, and numbers as text. The unused stack is painted, to see how much was
 * used. */
#include "board.h"
#if __STDC_HOSTED__
#include <string.h>
#endif

#if !__STDC_HOSTED__
void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    unsigned char *out = to;
    const unsigned char *in = from;
    for (size_t i = 0; i < n; i++) out[i] = in[i];
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    unsigned char *out = to;
    const unsigned char *in = from;
    if ((uintptr_t)to <= (uintptr_t)from) return memcpy(to, from, n);
    while (n--) out[n] = in[n];
    return to;
}

void *memset(void *to, int value, size_t n) {
    unsigned char *out = to;
    for (size_t i = 0; i < n; i++) out[i] = (unsigned char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t n) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}
#endif

void fv_board_number(const char *before, uint64_t number, const char *after) {
    char text[24], *digit = text + sizeof text - 1;
    *digit = 0;
    do {
        uint64_t rest = number / 10;
        *--digit = (char)('0' + (number - 10 * rest));
        number = rest;
    } while (number);
    fv_board_text(before);
    fv_board_text(digit);
    fv_board_text(after);
}

void fv_board_floats(const char *before, size_t n, const float *x) {
    static const char digits[] = "0123456789abcdef";
    fv_board_text(before);
    for (size_t i = 0; i < n; i++) {
        char text[10] = {' '};
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        for (int d = 0; d < 8; d++) text[1 + d] = digits[bits >> (28 - 4 * d) & 15];
        fv_board_text(text);
    }
    fv_board_text("\n");
}

void fv_board_count(const char *name, uint64_t since) {
    uint64_t now = fv_board_instructions();
    if (!now) return;
    fv_board_text("instructions ");
    fv_board_text(name);
    fv_board_number(" ", now - since, "\n");
}

#if !__STDC_HOSTED__
extern uint32_t __data_load[], __data_start[], __data_end[], __bss_start[], __bss_end[], __stack_top[];

#define STACK_PAINT 0x5AA55AA5u

_Noreturn void fv_board_start(void) {
    volatile uint32_t here = 0;
    for (uint32_t *to = __data_start, *from = __data_load; to < __data_end;) *to++ = *from++;
    for (uint32_t *to = __bss_start; to < __bss_end; to++) *to = 0;
    /* what lies below this function's own frame */
    for (volatile uint32_t *to = __bss_end; (uintptr_t)to + 128 < (uintptr_t)&here; to++) *to = STACK_PAINT;
    int code = fv_board_main();
    const volatile uint32_t *used = __bss_end;
    while (used < __stack_top && *used == STACK_PAINT) used++;
    fv_board_number("data ", (uintptr_t)__data_end - (uintptr_t)__data_start, "\n");
    fv_board_number("bss ", (uintptr_t)__bss_end - (uintptr_t)__bss_start, "\n");
    fv_board_number("stack ", (uintptr_t)__stack_top - (uintptr_t)used, "\n");
    fv_board_exit(code);
}
#endif
