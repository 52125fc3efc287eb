/* start_hosted.c - the same programs on Linux: this machine, the reference of all boards, and processors under
 * qemu-user. */
#include "board.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fv_board_text(const char *text) {
    size_t rest = strlen(text);
    while (rest > 0) {
        ssize_t done = write(1, text, rest);
        if (done <= 0) exit(4);
        text += done;
        rest -= (size_t)done;
    }
}

_Noreturn void fv_board_exit(int code) { exit(code); }

uint64_t fv_board_instructions(void) { return 0; }

int main(void) { return fv_board_main(); }
