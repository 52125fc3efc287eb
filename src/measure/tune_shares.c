/* tune_shares.c - equal marginal losses, found by halving the interval of the common one. */
#include "fovea/measure/tune_shares.h"
#include <math.h>
#include <stdbool.h>

#define MOST 4.0
#define LEAST 0.125
/* Two measurements of a few hundred positions say no more about a slope. */
#define SLOPE_MOST 2.5
#define SLOPE_LEAST 0.5

static bool is_served(const double loss[2]) { return loss[0] > 0 && loss[1] > 0; }

/* The share at which a head's loss, scale * s^-slope, falls at the rate exp(log_rate). */
static double share_at(const double loss[2], double log_rate) {
    double log_scale = 0.5 * (log(loss[0]) + log(loss[1])); /* half and twice: the scale is their mean */
    double slope = (log(loss[0]) - log(loss[1])) / log(4);
    slope = slope < SLOPE_LEAST ? SLOPE_LEAST : slope > SLOPE_MOST ? SLOPE_MOST : slope;
    double share = exp((log(slope) + log_scale - log_rate) / (1 + slope));
    return share < LEAST ? LEAST : share > MOST ? MOST : share;
}

/* Mean over the heads that are served, each to the power `reach`. */
static double mean_at(size_t heads, const double (*loss)[2], double reach, double log_rate) {
    double sum = 0;
    size_t served = 0;
    for (size_t i = 0; i < heads; i++) {
        if (!is_served(loss[i])) continue;
        sum += pow(share_at(loss[i], log_rate), reach);
        served++;
    }
    return served ? sum / (double)served : 1;
}

void fv_tune_shares(size_t heads, const double (*loss)[2], double reach, uint16_t *shares) {
    double low = -750, high = 750; /* of the rate's logarithm: more than any double's */
    for (int i = 0; i < 60; i++) {
        double middle = 0.5 * (low + high);
        if (mean_at(heads, loss, 1, middle) > 1)
            low = middle;
        else
            high = middle;
    }
    double mean = mean_at(heads, loss, reach, high);
    for (size_t i = 0; i < heads; i++) {
        double share = is_served(loss[i]) ? pow(share_at(loss[i], high), reach) / mean : 1;
        shares[i] = (uint16_t)lrint(share * FV_TUNE_SHARE_EQUAL);
    }
}
