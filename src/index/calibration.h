/* calibration.h - what searches of an index cost, measured when its graph is made or when somebody asks: the beams that
 * find a share of the nearest, and the rows that a scan of all codes computes. Between what was measured values are
 * interpolated, so that they never promise more; all is in f64 of single operations, the same bits on every machine. */
#ifndef FV_INDEX_CALIBRATION_H
#define FV_INDEX_CALIBRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FV_CALIBRATED_COUNTS = 3,  /* of the nearest: 1, 10, 100 */
    FV_CALIBRATED_RECALLS = 8, /* 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999 */
    FV_CALIBRATION_BYTES = 80  /* in a file */
};

typedef struct fv_calibration {
    uint16_t beams[FV_CALIBRATED_COUNTS][FV_CALIBRATED_RECALLS]; /* 0: no beam that is worth it finds as many */
    float rows[FV_CALIBRATED_COUNTS];                            /* that a scan computes exactly for a query */
    float visits;                                                /* of a walk, for each row of its beam */
    uint32_t queries;                                            /* it was measured with; 0: it was not */
    uint32_t vectors;                                            /* that were there then */
    uint32_t is_given;                                           /* 1: the queries were the caller's */
} fv_calibration;

/* Little-endian; false: no calibration that this library writes. */
void fv_calibration_put(const fv_calibration *calibration, uint8_t *bytes);
bool fv_calibration_get(const uint8_t *bytes, fv_calibration *calibration);

/* The beam that finds that share of the k nearest, k >= 1; 0: none is known. */
double fv_calibrated_beam(const fv_calibration *calibration, double k, double recall);

/* Rows of `rows` that a scan for the k nearest computes exactly; a guess if nothing was measured. */
double fv_calibrated_rows(const fv_calibration *calibration, double k, size_t rows);

/* From the share of the count's nearest that each of rising beams found: the beams of the table. shares [beams]. */
void fv_calibration_fill(fv_calibration *calibration, size_t count, size_t beams, const uint32_t *beam,
                         const double *shares);

#endif
