/* progress.h - a bar with rate and time left on stderr; nothing at all when stderr is no terminal. */
#ifndef FOVEA_PROGRESS_H
#define FOVEA_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cli_progress {
    const char *label, *unit;
    uint64_t start_ns, shown_ns;
    bool on, shown, colour;
} cli_progress;

void cli_progress_start(cli_progress *progress, const char *label, const char *unit);
void cli_progress_show(cli_progress *progress, size_t done, size_t total);
void cli_progress_end(cli_progress *progress); /* wipes the bar; before any other line on stderr */

/** A fv_session_progress_fn with a cli_progress as context: shows, and stops at Ctrl-C. */
bool cli_progress_step(void *progress, size_t done, size_t total);

#endif
