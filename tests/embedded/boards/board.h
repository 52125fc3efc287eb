/* board.h - what a program on a board has: somewhere to print, a counter, its own entry. No C library is there. */
#ifndef FV_BOARD_H
#define FV_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* The program. Its result is the exit code of the emulator. */
int fv_board_main(void);

/* Of the start-up file. */
void fv_board_text(const char *text); /* zero-terminated, to the emulator's console */
_Noreturn void fv_board_exit(int code);
uint64_t fv_board_instructions(void); /* executed so far; 0 for ever where nothing counts them */

/* Of board.c. */
_Noreturn void fv_board_start(void); /* what reset calls: data, bss, stack, the program, exit */
void fv_board_number(const char *before, uint64_t number, const char *after);
void fv_board_floats(const char *before, size_t n,
                     const float *x); /* their bits: 8 hexadecimal digits each, one line */
void fv_board_count(const char *name,
                    uint64_t since); /* "instructions NAME N": those since fv_board_instructions() said so */

#endif
