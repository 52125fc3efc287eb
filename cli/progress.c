/* progress.c - draws the bar. It overwrites its own line, so it must be wiped before anything else is printed. */
#include "progress.h"
#include "fovea/machine.h"
#include "interrupt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR_CELLS 24
#define REDRAW_NS 100000000u /* 0.1 s: what an eye can follow */

void cli_progress_start(cli_progress *progress, const char *label, const char *unit) {
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    *progress = (cli_progress){.label = label, .unit = unit, .start_ns = fv_machine_clock_ns()};
    progress->on = isatty(STDERR_FILENO) && !(terminal && strcmp(terminal, "dumb") == 0);
    progress->colour = !(no_colour && no_colour[0]);
}

static void draw(const cli_progress *progress, size_t done, size_t total, uint64_t now) {
    char bar[BAR_CELLS + 1];
    double share = (double)done / (double)total, seconds = (double)(now - progress->start_ns) * 1e-9;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    size_t filled = (size_t)(share * BAR_CELLS);
    for (size_t i = 0; i < BAR_CELLS; i++) bar[i] = i < filled ? '#' : '.';
    bar[BAR_CELLS] = 0;
    unsigned long left = rate > 0 ? (unsigned long)((double)(total - done) / rate + 0.5) : 0;
    fprintf(stderr, "\r%s %s[%s]%s %3.0f%% %zu/%zu %s, %.1f %s/s, %lu:%02lu left\033[K", progress->label,
            progress->colour ? "\033[36m" : "", bar, progress->colour ? "\033[0m" : "", 100 * share, done, total,
            progress->unit, rate, progress->unit, left / 60, left % 60);
    fflush(stderr);
}

void cli_progress_show(cli_progress *progress, size_t done, size_t total) {
    uint64_t now = fv_machine_clock_ns();
    if (!progress->on || total == 0 || done > total) return;
    if (progress->shown && now - progress->shown_ns < REDRAW_NS && done != total) return;
    draw(progress, done, total, now);
    progress->shown = true;
    progress->shown_ns = now;
}

void cli_progress_end(cli_progress *progress) {
    if (!progress->shown) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->shown = false;
}

bool cli_progress_step(void *progress, size_t done, size_t total) {
    cli_progress_show(progress, done, total);
    return !cli_interrupted();
}
