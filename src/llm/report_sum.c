/* report_sum.c - adds reports of several calls. */
#include "fovea/report_sum.h"
#include <stdbool.h>

double fv_report_density(const fv_report *report) {
    return report->keys_visible > 0 ? (double)report->keys_read / (double)report->keys_visible : 1;
}

/* The larger of two, of which NaN says that there is none. */
static float larger(float a, float b) { return a >= b || b != b ? a : b; }

void fv_report_sum(fv_report *into, const fv_report *from) {
    bool first = into->certified_rows == 0;
    into->isa = from->isa;
    into->keys_visible += from->keys_visible;
    into->keys_read += from->keys_read;
    into->bytes_read += from->bytes_read;
    into->local_keys += from->local_keys;
    into->selected_keys += from->selected_keys;
    into->error_bound = first ? from->error_bound : larger(into->error_bound, from->error_bound);
    into->relative_bound = first ? from->relative_bound : larger(into->relative_bound, from->relative_bound);
    into->relative_estimate =
        first ? from->relative_estimate : larger(into->relative_estimate, from->relative_estimate);
    into->certified_rows += from->certified_rows;
    into->vacuous_rows += from->vacuous_rows;
    into->whole_rows += from->whole_rows;
    into->sink_keys += from->sink_keys;
    into->window_keys += from->window_keys;
    into->whole_keys += from->whole_keys;
    into->choose_ns += from->choose_ns;
    into->read_ns += from->read_ns;
    into->product_ns += from->product_ns;
    into->other_ns += from->other_ns;
}
