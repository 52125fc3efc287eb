/* report_sum.h - reports added up, and the figures that are read from them. Hosted. */
#ifndef FOVEA_REPORT_SUM_H
#define FOVEA_REPORT_SUM_H

#include "fovea/api.h"
#include "fovea/report.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Adds counters; of a certificate's figures the worse one stays. `from` is whole (struct_bytes is not looked at).
 * O(1). */
FV_API void fv_report_sum(fv_report *into, const fv_report *from);

/** Keys read exactly / keys visible, 0..1; 1 where dense attention has nothing to read either. Pure. */
FV_API double fv_report_density(const fv_report *report);

#ifdef __cplusplus
}
#endif

#endif
