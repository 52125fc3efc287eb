/* start_cortex_m.c - vectors, FPU, semihosting and an instruction counter of a Cortex-M. The counter is SysTick, which
 * under QEMU's -icount shift=0 (one instruction, one nanosecond) ticks once in TICK_PICOSECONDS / 1000 instructions. */
#include "board.h"

extern uint32_t __stack_top[];
static volatile uint32_t ticks_high; /* SysTick has 24 bits */

static uint32_t semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void fv_board_text(const char *text) { semihost(4, text); }

_Noreturn void fv_board_exit(int code) {
    const uint32_t block[2] = {0x20026, (uint32_t)code}; /* application exit */
    for (;;) semihost(0x20, block);
}

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018)

static void tick(void) { ticks_high += 1u << 24; }

uint64_t fv_board_instructions(void) {
    uint32_t high = ticks_high, low = 0xFFFFFF - SYSTICK_VALUE;
    if (high != ticks_high) { /* it ran over in between */
        high = ticks_high;
        low = 0xFFFFFF - SYSTICK_VALUE;
    }
    return (((uint64_t)high + low) * TICK_PICOSECONDS + 1000) / 1000;
}

static void reset(void) {
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the FPU may be used */
    __asm__ volatile("dsb\n\tisb");
#endif
    ticks_high = 0;
    SYSTICK_RELOAD = 0xFFFFFF;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7;
    fv_board_start();
}

static void fault(void) {
    fv_board_text("fault\n");
    fv_board_exit(3);
}

typedef void handler(void);
__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    handler *reset, *faults[13], *systick;
} vectors = {__stack_top,
             reset,
             {fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault},
             tick};

__attribute__((alias("reset"))) void fv_board_reset(void);
