/* All roundings go upwards where a bound is wanted. */
#include "attend/certificate.h"
#include "build.h"
#include "numeric/half.h"
#include "numeric/root.h"
#include <float.h>

#if FV_BUILD_CERTIFICATE

static const float upwards = 1.0001f;

/* Estimates count this much of the unread mass: it was made with scores above what is likely. */
static const float likely_part = 0.25f;
static const float least_rest = 0.25f; /* of out in the dense output */

static float share_of(float mass, float read) {
    if (!(mass <= FLT_MAX / 4)) return 1.0f;
    return mass > 0.0f ? mass / (read + mass) : 0.0f;
}

fv_certificate fv_certificate_make(const fv_certificate_input *input) {
    float most = 0.0f, squares = 0.0f;
    for (size_t c = 0; c < input->head_dim; c++) {
        float magnitude = input->out[c] < 0.0f ? -input->out[c] : input->out[c];
        if (magnitude > most) most = magnitude;
        squares += magnitude * magnitude;
    }
    float rms = fv_root_f32(squares / (float)input->head_dim);
    float error = share_of(input->mass_bound, input->read) * (most + input->value_max) * upwards;
    float left = rms / upwards - error, infinite = fv_f32_from_bits(0x7F800000);
    float apart = fv_root_f32(input->value_rms * input->value_rms + rms * rms); /* of out and v', if independent */
    float share = share_of(likely_part * input->mass_estimate, input->read), rest = 1.0f - share;
    /* dense is out's part and what is unread, which may have no direction: then it is shorter than out */
    float estimate = share * apart / (rest > least_rest ? rest : least_rest);
    return (fv_certificate){.error_bound = error,
                            .relative_bound = error == 0.0f ? 0.0f
                                              : left > 0.0f ? error / left * upwards
                                                            : infinite,
                            .raw_estimate = estimate == 0.0f ? 0.0f
                                            : rms > 0.0f     ? estimate / rms
                                                             : infinite};
}

#endif
