/* certificate.h - how far a row's output may be from that of dense attention, from what was read and what was not. */
#ifndef FV_CERTIFICATE_H
#define FV_CERTIFICATE_H

#include <stddef.h>

/* Of one query head of one row. `read` is the sum of weights of what was read, in the units of the two masses. */
typedef struct fv_certificate_input {
    float read, mass_bound, mass_estimate; /* of what was not read */
    float value_max, value_rms;            /* of what was not read */
    size_t head_dim;
    const float *out; /* [head_dim] */
} fv_certificate_input;

typedef struct fv_certificate {
    float error_bound;    /* >= max |out - dense|, in the unit of the values, always */
    float relative_bound; /* that in units of the root mean square of the dense output, always; infinity: nothing is
                             known */
    float raw_estimate;   /* the relative error by estimate, times a factor that depends on the probability wanted */
} fv_certificate;

/*
 * dense = (read * out + W v') / (read + W) for the unread mass W and a mean v' of unread values, hence
 *   |out - dense| = W / (read + W) * |out - v'| <= W / (read + W) * (max |out| + value_max),
 * which rises with W; and rms(dense) >= rms(out) - max |out - dense|. O(head_dim).
 */
fv_certificate fv_certificate_make(const fv_certificate_input *input);

#endif
