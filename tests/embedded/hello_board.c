/* hello_board.c - that a board starts, prints, counts and ends. */
#include "board.h"

int fv_board_main(void) {
    uint64_t start = fv_board_instructions();
    volatile float x = 1.0f;
    for (int i = 0; i < 1000; i++) x = x * 0.5f + 0.75f;
    fv_board_count("loop", start);
    float y = x;
    fv_board_floats("bits", 1, &y);
    return 0;
}
