/* start_aarch64.c - reset, semihosting and cycle counter of a Cortex-A53 without an operating system (QEMU's virt
 * machine). Under -icount shift=0 a cycle is an instruction. */
#include "board.h"

static uint64_t semihost(uint64_t operation, const void *argument) {
    register uint64_t x0 __asm__("x0") = operation;
    register const void *x1 __asm__("x1") = argument;
    __asm__ volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
    return x0;
}

void fv_board_text(const char *text) { semihost(4, text); }

_Noreturn void fv_board_exit(int code) {
    const uint64_t block[2] = {0x20026, (uint64_t)code};
    for (;;) semihost(0x18, block);
}

uint64_t fv_board_instructions(void) {
    uint64_t cycles;
    __asm__ volatile("isb\n\tmrs %0, pmccntr_el0" : "=r"(cycles));
    return cycles;
}

__attribute__((section(".start"), used)) _Noreturn void fv_board_reset(void) {
    __asm__ volatile("ldr x0, =__stack_top\n\t"
                     "mov sp, x0\n\t"
                     "mov x0, #(3 << 20)\n\t" /* CPACR: floating point may be used */
                     "msr cpacr_el1, x0\n\t"
                     "isb\n\t"
                     "mov x0, #1\n\t" /* PMCR: counters on; the cycle counter in all modes */
                     "msr pmcr_el0, x0\n\t"
                     "mov x0, #(1 << 31)\n\t"
                     "msr pmcntenset_el0, x0\n\t"
                     "isb\n\t"
                     "b fv_board_start");
    __builtin_unreachable();
}
