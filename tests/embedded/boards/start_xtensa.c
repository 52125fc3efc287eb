/* start_xtensa.c - reset, console and cycle counter of QEMU's Xtensa simulator (sim machine, lx106 core). The core has
 * neither the register windows nor the FPU of an ESP32-S3. CCOUNT follows QEMU's clock, TICK_PICOSECONDS to a tick. */
#include "board.h"

static int32_t simcall(int32_t number, int32_t a, const void *b, uint32_t c) {
    register int32_t a2 __asm__("a2") = number;
    register int32_t a3 __asm__("a3") = a;
    register const void *a4 __asm__("a4") = b;
    register uint32_t a5 __asm__("a5") = c;
    __asm__ volatile("simcall" : "+r"(a2), "+r"(a3) : "r"(a4), "r"(a5) : "memory");
    return a2;
}

void fv_board_text(const char *text) {
    uint32_t length = 0;
    while (text[length]) length++;
    simcall(4, 1, text, length);
}

_Noreturn void fv_board_exit(int code) {
    for (;;) simcall(1, code, NULL, 0);
}

static uint32_t last, high; /* the counter has 32 bits */

uint64_t fv_board_instructions(void) {
    uint32_t now;
    __asm__ volatile("rsr.ccount %0" : "=r"(now));
    if (now < last) high++;
    last = now;
    return ((uint64_t)high << 32 | now) * TICK_PICOSECONDS / 1000 + 1;
}

/* The reset vector, the first word of flash: literals lie before the code that reads them. */
__asm__(".section .vectors, \"ax\"\n\tj fv_board_reset\n\t.previous");

__attribute__((section(".start"), used)) _Noreturn void fv_board_reset(void) {
    __asm__ volatile("movi a1, __stack_top\n\tmovi a0, fv_board_start\n\tjx a0");
    __builtin_unreachable();
}
