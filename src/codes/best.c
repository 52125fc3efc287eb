/* The best by a threshold, which is found by counting. */
#include "codes/best.h"
#include "build.h"

#if FV_BUILD_CHOOSE

/* As far from low to high as `part` is of `whole`, neither of them: where weights are spread evenly, the threshold. */
static uint32_t between(uint32_t low, uint32_t high, size_t part, size_t whole) {
    uint32_t most = high - low - 1, far = (uint32_t)((uint64_t)(high - low) * part / whole);
    return low + (far < 1 ? 1 : far > most ? most : far);
}

uint32_t fv_list_threshold(const fv_kernels *kernels, const uint32_t *weight, uint32_t count, size_t goal) {
    uint32_t high = FV_WEIGHT_WHOLE + 1, low = FV_WEIGHT_WHOLE;
    size_t reached = 0, above = 0; /* by what reaches `low`, and by what reaches `high` */
    for (uint32_t step = 2048; step < low; step *= 2) {
        low -= step;
        reached = kernels->count_least(count, weight, low);
        if (reached >= goal) break;
        high = low, above = reached;
    }
    if (reached < goal) low = 1, reached = count;
    for (bool halves = false; reached != goal && high - low > 1; halves = !halves) {
        uint32_t middle = low + (high - low) / 2;
        if (!halves) middle = between(low, high, reached - goal, reached - above);
        size_t now = kernels->count_least(count, weight, middle);
        if (now >= goal)
            low = middle, reached = now;
        else
            high = middle, above = now;
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
