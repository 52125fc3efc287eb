/* beam_choice.c - the beam that finds the wanted share of the nearest, by a sample of the queries themselves: scanned,
 * then walked with rising beams. */
#include "fovea/index.h"
#include "platform/array.h"
#include <stdlib.h>

enum { SAMPLE = 100, WORTH = 4 * SAMPLE }; /* queries; so many at most are scanned anyway */

/* Share of results that are no farther than the farthest true one. */
static double share_of(size_t queries, size_t k, const float *found, const float *truth) {
    size_t right = 0, all = 0;
    for (size_t i = 0; i < queries * k; i++) {
        float last = truth[i / k * k + k - 1];
        all += truth[i] <= last;
        right += found[i] <= last;
    }
    return all ? (double)right / (double)all : 1;
}

static fv_status choose(const fv_index *index, const fv_index_search *search, fv_index_search *sample, double recall,
                        float *results, uint64_t *labels, uint32_t *beam, fv_message *message) {
    size_t count = (size_t)SAMPLE * search->k;
    fv_status status = fv_index_nearest(index, sample, labels, results, NULL, message);
    for (uint32_t tried = 8; status == FV_OK && tried <= FV_INDEX_BEAM / 8; tried += tried / 2) {
        sample->beam = tried;
        status = fv_index_nearest(index, sample, labels, results + count, NULL, message);
        if (status != FV_OK || share_of(SAMPLE, search->k, results + count, results) < recall) continue;
        *beam = tried;
        return FV_OK;
    }
    if (status == FV_OK) *beam = 0;
    return status;
}

fv_status fv_index_beam_for(const fv_index *index, const fv_index_search *search, double recall, uint32_t *beam,
                            fv_message *message) {
    fv_index_info info;
    if (!index || !search || !beam || !(recall >= 0 && recall <= 1))
        return fv_message_set(message, FV_ERROR_ARGUMENT, "an argument is NULL, or the recall is not between 0 and 1");
    fv_index_info_get(index, &info);
    if (!info.degree || search->count <= WORTH) {
        *beam = 0;
        return FV_OK;
    }
    float *queries = fv_array_new(SAMPLE, (size_t)info.dimension * sizeof *queries);
    float *results = fv_array_new(2 * SAMPLE, search->k * sizeof *results);
    uint64_t *labels = fv_array_new(SAMPLE, search->k * sizeof *labels);
    fv_status status = FV_OK;
    if (!queries || !results || !labels)
        status = fv_message_set(message, FV_ERROR_MEMORY, "no memory to choose a beam");
    else if (search->dimension != info.dimension)
        status = fv_message_set(message, FV_ERROR_SHAPE, "the queries have another dimension than the index");
    for (size_t i = 0; status == FV_OK && i < SAMPLE; i++) /* evenly from all */
        for (size_t c = 0; c < info.dimension; c++)
            queries[i * info.dimension + c] = search->queries[i * search->count / SAMPLE * info.dimension + c];
    fv_index_search sample = *search;
    sample.queries = queries;
    sample.count = SAMPLE;
    sample.beam = 0;
    if (status == FV_OK) status = choose(index, search, &sample, recall, results, labels, beam, message);
    free(queries);
    free(results);
    free(labels);
    return status;
}
