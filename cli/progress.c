/* progress.c - draws the bar. It overwrites its own line, so it must be wiped before anything else is printed. */
#include "progress.h"
#include "fovea/machine.h"
#include "interrupt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BAR_CELLS 24
#define LINE_BYTES 160       /* longest drawing, without colours */
#define REDRAW_NS 100000000u /* 0.1 s: what an eye can follow */

void cli_progress_start(cli_progress *progress, const char *label, const char *unit) {
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    *progress = (cli_progress){.label = label, .unit = unit, .start_ns = fv_machine_clock_ns()};
    progress->on = isatty(STDERR_FILENO) && !(terminal && strcmp(terminal, "dumb") == 0);
    progress->colour = !(no_colour && no_colour[0]);
}

/* Columns of the terminal, now: its window may have changed. One is left free: some terminals wrap when the last is
 * written. */
static size_t columns_free(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 79;
    return size.ws_col - 1u;
}

/* Time left and rate, then the counts, then the bar's cells are given up until the line fits. Returns the bar's cells
 * and writes what stands after it. */
static size_t fit(const cli_progress *progress, size_t columns, size_t done, size_t total, double seconds, char *tail) {
    double rate = seconds > 0 ? (double)done / seconds : 0;
    unsigned long left = rate > 0 ? (unsigned long)((double)(total - done) / rate + 0.5) : 0;
    char counts[LINE_BYTES], speed[LINE_BYTES];
    snprintf(counts, sizeof counts, " %zu/%zu %s", done, total, progress->unit);
    snprintf(speed, sizeof speed, ", %.1f %s/s, %lu:%02lu left", rate, progress->unit, left / 60, left % 60);
    for (int parts = 2; parts >= 0; parts--) {
        int length = snprintf(tail, LINE_BYTES, " %3.0f%%%s%s", 100 * (double)done / (double)total,
                              parts > 0 ? counts : "", parts > 1 ? speed : "");
        size_t other = strlen(progress->label) + 3 + (size_t)length; /* a blank and two brackets */
        size_t least = parts > 0 ? 10 : 1;
        if (length < LINE_BYTES && other + least <= columns)
            return columns - other < BAR_CELLS ? columns - other : BAR_CELLS;
    }
    return 0;
}

/* The terminal does not wrap while the line is drawn: its width may change in between. */
static void draw(const cli_progress *progress, size_t done, size_t total, uint64_t now) {
    char bar[BAR_CELLS + 1] = "", tail[LINE_BYTES];
    size_t columns = columns_free();
    size_t cells = fit(progress, columns, done, total, (double)(now - progress->start_ns) * 1e-9, tail);
    size_t filled = (size_t)((double)done / (double)total * (double)cells);
    for (size_t i = 0; i < cells; i++) bar[i] = i < filled ? '#' : '.';
    const char *on = progress->colour ? "\033[36m" : "", *off = progress->colour ? "\033[0m" : "";
    fputs("\033[?7l\r", stderr);
    if (cells > 0)
        fprintf(stderr, "%s %s[%s]%s%s", progress->label, on, bar, off, tail);
    else
        fprintf(stderr, "%.*s", columns < 5 ? 0 : 4, tail + 1); /* a share, if that */
    fputs("\033[K\033[?7h", stderr);
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
