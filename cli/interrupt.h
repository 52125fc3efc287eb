/* interrupt.h - Ctrl-C: the first is a request that the verbs poll, the second ends the program with 130. */
#ifndef FOVEA_INTERRUPT_H
#define FOVEA_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

/** Also ignores SIGPIPE, so that a closed pipe is a write error like any other. A Ctrl-C that was ignored when the
 *  program was started stays ignored. */
void cli_interrupt_install(void);
void cli_interrupt_on_terminate(void); /* SIGTERM is such a request, too */
bool cli_interrupted(void);
void cli_interrupt_before_exit(void (*restore)(void)); /* called where the second Ctrl-C ends the program */
bool cli_go_on(void *context);  /* the opposite, for those who ask a watch; context is not used */
void cli_interrupt_clear(void); /* the request was served (a conversation goes on) */

/** Waits until `file` can be read (or is at its end); false at Ctrl-C, also if that came before. */
bool cli_interrupt_wait(int file);

/** Sleeps; CLI_GO_ON, or CLI_INTERRUPTED at Ctrl-C. */
int cli_interrupt_sleep(int64_t seconds);

#endif
