/* The best by a threshold, which is found by counting. */
#include "codes/best.h"
#include "build.h"

#if FV_BUILD_CHOOSE

uint32_t fv_list_threshold(const fv_kernels *kernels, const uint32_t *weight, uint32_t count, size_t goal) {
    uint32_t high = FV_WEIGHT_WHOLE + 1, low = FV_WEIGHT_WHOLE;
    size_t reached = 0;
    for (uint32_t step = 2048; step < low; step *= 2) {
        low -= step;
        reached = kernels->count_least(count, weight, low);
        if (reached >= goal) break;
        high = low;
    }
    if (reached < goal) low = 1;
    while (reached != goal && high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        size_t now = kernels->count_least(count, weight, middle);
        if (now >= goal) {
            low = middle;
            reached = now;
        } else
            high = middle;
    }
    return low;
}

uint32_t fv_list_best(const fv_kernels *kernels, const uint32_t *weight, uint32_t count, uint32_t most,
                      uint32_t *place) {
    size_t goal = kernels->count_least(count, weight, FV_CHOSEN);
    goal = most < count - goal ? goal + most : count;
    if (goal == 0) return 0;
    uint32_t threshold = fv_list_threshold(kernels, weight, count, goal);
    size_t listed = kernels->list_least(count, weight, threshold, place), end = listed;
    for (size_t i = listed, surplus = listed - goal; surplus > 0;
         surplus--) { /* the newest of the equal ones goes first */
        do i--;
        while (weight[place[i]] != threshold);
        for (size_t k = i + 1; k < end; k++) place[k - 1] = place[k];
        end--;
    }
    return (uint32_t)end;
}

#endif
