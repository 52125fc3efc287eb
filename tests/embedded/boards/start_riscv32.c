/* start_riscv32.c - reset, semihosting and instruction counter of a 32-bit RISC-V under QEMU's virt machine. */
#include "board.h"

static uint32_t semihost(uint32_t operation, const void *argument) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(
        ".option push\n\t.option norvc\n\t.balign 16\n\tslli zero, zero, 0x1f\n\tebreak\n\tsrai zero, zero, 7\n\t"
        ".option pop"
        : "+r"(a0)
        : "r"(a1)
        : "memory");
    return a0;
}

void fv_board_text(const char *text) { semihost(4, text); }

_Noreturn void fv_board_exit(int code) {
    const uint32_t block[2] = {0x20026, (uint32_t)code};
    for (;;) semihost(0x20, block);
}

uint64_t fv_board_instructions(void) {
    uint32_t high, low, again;
    do
        __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrr %0, minstreth\n\tcsrr %1, minstret\n\t"
                         "csrr %2, minstreth\n\t.option pop"
                         : "=r"(high), "=r"(low), "=r"(again));
    while (high != again);
    return (uint64_t)high << 32 | low;
}

__attribute__((section(".start"), naked, used)) void fv_board_reset(void) {
    __asm__ volatile(".option arch, +zicsr\n\t"
                     "la sp, __stack_top\n\t"
                     "li t0, 0x6000\n\t" /* mstatus.FS: the FPU, where there is one, may be used */
                     "csrs mstatus, t0\n\t"
                     "j fv_board_start");
}
