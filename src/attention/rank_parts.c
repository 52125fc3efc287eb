/* Parts of all ranks in one exchange. */
#include "attention/ranks.h"

#if FV_BUILD_EXCHANGE

void fv_ranks_place(fv_ranks *ranks) {
    size_t next = 0;
    for (uint32_t r = 0; r < ranks->exchange->ranks; r++) {
        ranks->offset[r] = next;
        next += ranks->bytes[r] / sizeof(float);
    }
}

fv_status fv_ranks_gather(fv_ranks *ranks) {
    const fv_exchange *exchange = ranks->exchange;
    for (uint32_t r = 0; r < exchange->ranks; r++)
        if (r != exchange->rank) ranks->moved_bytes += ranks->bytes[r];
    return exchange->all_gather(exchange->self, ranks->all, ranks->bytes);
}

#endif
