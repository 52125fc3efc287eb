/* calibration.c - the table of what was measured: filled, asked, written, read. */
#include "index/calibration.h"
#include "llm/hash64.h"
#include "numeric/half.h"
#include <math.h>
#include <string.h>

static const double counts[FV_CALIBRATED_COUNTS] = {1, 10, 100};
static const double recalls[FV_CALIBRATED_RECALLS] = {0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999};

/* ---- filling ---- */

/* The least beam, between two that were tried by a straight line. Recall rises ever more slowly with the beam, so that
 * a line lies under it. */
static uint32_t beam_of(double recall, size_t beams, const uint32_t *beam, const double *shares) {
    size_t at = 0;
    while (at < beams && shares[at] < recall) at++;
    if (at == beams) return 0;
    if (at == 0) return beam[0];
    double part = (recall - shares[at - 1]) / (shares[at] - shares[at - 1]);
    return (uint32_t)ceil((double)beam[at - 1] + part * (double)(beam[at] - beam[at - 1]));
}

/* What is wanted is raised by a standard deviation of a share that so many queries were seen to have: results of one
 * query go together, as if there were but the root of them. */
void fv_calibration_fill(fv_calibration *calibration, size_t count, size_t beams, const uint32_t *beam,
                         const double *shares) {
    uint32_t before = 1;
    for (size_t i = 0; i < FV_CALIBRATED_RECALLS; i++) {
        double recall = recalls[i];
        double deviation = sqrt(recall * (1 - recall) / (double)calibration->queries / sqrt(counts[count]));
        double raised = recall + deviation < (1 + recall) / 2 ? recall + deviation : (1 + recall) / 2;
        uint32_t found = before ? beam_of(raised, beams, beam, shares) : 0;
        calibration->beams[count][i] = (uint16_t)(found && found < before ? before : found);
        before = found;
    }
}

/* ---- asking ---- */

#define SAME 1e-6 /* recalls that differ by no more: f32 of 0.999 is above it */

static double beam_at(const uint16_t *beams, double recall) {
    size_t at = 0;
    while (at < FV_CALIBRATED_RECALLS && recalls[at] + SAME < recall) at++;
    if (at == FV_CALIBRATED_RECALLS || !beams[at]) return 0;
    if (at == 0 || recalls[at] - SAME <= recall) return beams[at];
    double part = (recall - recalls[at - 1]) / (recalls[at] - recalls[at - 1]);
    return (double)beams[at - 1] + part * (double)(beams[at] - beams[at - 1]);
}

/* Between two counts by the root of k, which is above both lines that beams were seen to follow: k and log k. */
static double between(double k, const double *values) {
    size_t at = k > counts[1];
    double part = (sqrt(k) - sqrt(counts[at])) / (sqrt(counts[at + 1]) - sqrt(counts[at]));
    return values[at] + part * (values[at + 1] - values[at]);
}

double fv_calibrated_beam(const fv_calibration *calibration, double k, double recall) {
    double beams[FV_CALIBRATED_COUNTS];
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++) beams[i] = beam_at(calibration->beams[i], recall);
    if (k <= counts[0]) return beams[0];
    if (k >= counts[2]) return beams[2] * k / counts[2];
    size_t at = k > counts[1];
    return beams[at] > 0 && beams[at + 1] > 0 ? between(k, beams) : 0;
}

double fv_calibrated_rows(const fv_calibration *calibration, double k, size_t rows) {
    double values[FV_CALIBRATED_COUNTS], most = (double)rows, found;
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++) values[i] = (double)calibration->rows[i];
    if (!calibration->queries)
        found = 4 * k + most / 64;
    else
        found = k >= counts[2] ? values[2] * sqrt(k / counts[2]) : between(k < 1 ? 1 : k, values);
    return found < most ? found : most;
}

/* ---- bytes ---- */

void fv_calibration_put(const fv_calibration *calibration, uint8_t *bytes) {
    const uint16_t *beams = calibration->beams[0];
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS * FV_CALIBRATED_RECALLS; i += 2, bytes += 4)
        fv_le32_put(bytes, beams[i] | (uint32_t)beams[i + 1] << 16);
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++, bytes += 4)
        fv_le32_put(bytes, fv_bits_from_f32(calibration->rows[i]));
    fv_le32_put(bytes, fv_bits_from_f32(calibration->visits));
    fv_le32_put(bytes + 4, calibration->queries);
    fv_le32_put(bytes + 8, calibration->vectors);
    fv_le32_put(bytes + 12, calibration->is_given);
    memset(bytes + 16, 0, 4);
}

bool fv_calibration_get(const uint8_t *bytes, fv_calibration *calibration) {
    uint16_t *beams = calibration->beams[0];
    const uint8_t *end = bytes + FV_CALIBRATION_BYTES;
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS * FV_CALIBRATED_RECALLS; i += 2, bytes += 4) {
        beams[i] = (uint16_t)fv_le32_get(bytes);
        beams[i + 1] = (uint16_t)(fv_le32_get(bytes) >> 16);
    }
    bool good = true;
    for (size_t i = 0; i < FV_CALIBRATED_COUNTS; i++, bytes += 4) {
        calibration->rows[i] = fv_f32_from_bits(fv_le32_get(bytes));
        good &= calibration->rows[i] >= 0 && calibration->rows[i] <= 0x1p32f;
    }
    calibration->visits = fv_f32_from_bits(fv_le32_get(bytes));
    calibration->queries = fv_le32_get(bytes + 4);
    calibration->vectors = fv_le32_get(bytes + 8);
    calibration->is_given = fv_le32_get(bytes + 12);
    for (bytes += 16; bytes < end; bytes++) good &= *bytes == 0;
    return good && calibration->is_given <= 1 && calibration->visits >= 0 && calibration->visits <= 0x1p16f;
}
