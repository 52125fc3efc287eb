/* The one place that picks kernels: scalar fills every slot that the switches of build.h leave, each instruction set
 * overrides what it has. A slot that is left out is NULL, and its kernel drops out of the program. */
#include "kernels/kernels.h"
#include "build.h"
#include "platform/cpu.h"

_Static_assert(sizeof(fv_kernels) <= FV_KERNELS_BYTES, "raise FV_KERNELS_BYTES");

#define FV_KERNEL_SCALAR(name, type) .name = fv_##name##_scalar,
/* clang-format off */
static const fv_kernels scalar_kernels = {
    .isa = FV_ISA_SCALAR,
    FV_KERNEL_F32_LIST(FV_KERNEL_SCALAR)
#if FV_BUILD_F16
    FV_KERNEL_F16_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_BF16
    FV_KERNEL_BF16_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_Q8
    FV_KERNEL_Q8_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_Q4
    FV_KERNEL_Q4_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_SOFTCAP
    FV_KERNEL_SOFTCAP_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_MODEL
    FV_KERNEL_DOT_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_CHOOSE
    FV_KERNEL_CHOOSE_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_TAIL
    FV_KERNEL_TAIL_LIST(FV_KERNEL_SCALAR)
#endif
#if FV_BUILD_MODEL
    FV_KERNEL_MODEL_LIST(FV_KERNEL_SCALAR)
#endif
};
/* clang-format on */

const fv_kernels *fv_kernels_scalar(void) { return &scalar_kernels; }

enum { ISA_LEVELS = 16 }; /* of a family, at most */

#define FV_KERNEL_USE(slot, set) table->slot = fv_##slot##_##set;
#define FV_SET_USE(NAME, name, family, level) \
    if (FV_BUILD_##NAME && level == step && fv_isa_includes(isa, FV_ISA_##NAME)) { \
        table->isa = FV_ISA_##NAME; \
        FV_##NAME##_LIST(FV_KERNEL_USE) \
    }
void fv_kernels_fill(fv_kernels *table, fv_isa isa) {
    *table = scalar_kernels;
    for (uint32_t step = 1; step < ISA_LEVELS; step++) { /* places in the list say nothing about levels */
        FV_ISA_LIST(FV_SET_USE)
    }
}
#undef FV_SET_USE
#undef FV_KERNEL_USE

/* The best that this processor and `limit` both have. */
static fv_isa isa_within(fv_isa limit) {
    fv_isa isa = fv_cpu_isa(), best = FV_ISA_SCALAR;
    if (limit == FV_ISA_BEST) return isa;
    if (limit == FV_ISA_AVXVNNI && fv_isa_includes(isa, FV_ISA_AVX2) && fv_cpu_has_avxvnni()) return limit;
    for (int i = 0; i < FV_ISA_COUNT; i++)
        if (fv_isa_includes(isa, (fv_isa)i) && fv_isa_includes(limit, (fv_isa)i) && fv_isa_includes((fv_isa)i, best))
            best = (fv_isa)i;
    return best;
}

fv_status fv_kernels_init(const fv_kernels **kernels, fv_isa limit, void *memory, size_t bytes) {
    if (!kernels || (limit >= FV_ISA_COUNT && limit != FV_ISA_BEST)) return FV_ERROR_ARGUMENT;
    if (!memory || bytes < FV_KERNELS_BYTES || (uintptr_t)memory % 8 != 0) return FV_ERROR_MEMORY;
    fv_kernels *table = (fv_kernels *)memory;
    fv_kernels_fill(table, isa_within(limit));
    *kernels = table;
    return FV_OK;
}

fv_isa fv_kernels_isa(const fv_kernels *kernels) { return (fv_isa)kernels->isa; }

/* The family, then the level in it. */
static uint32_t rank_of(fv_isa isa) {
#define FV_ISA_RANK(NAME, name, family, level) FV_ISA_FAMILY_##family *ISA_LEVELS + level,
    static const uint8_t ranks[] = {FV_ISA_LIST(FV_ISA_RANK)};
#undef FV_ISA_RANK
    return isa < FV_ISA_COUNT ? ranks[isa] : 0;
}

bool fv_isa_includes(fv_isa isa, fv_isa level) {
    uint32_t has = rank_of(isa), wants = rank_of(level);
    if (level == FV_ISA_SCALAR || level >= FV_ISA_COUNT) return level == FV_ISA_SCALAR;
    if (level == FV_ISA_AVXVNNI) return isa == level;
    return isa == level || (has / ISA_LEVELS == wants / ISA_LEVELS && has > wants);
}

const char *fv_isa_name(fv_isa isa) {
#define FV_ISA_NAME(NAME, name, family, level) #name,
    static const char *const names[] = {FV_ISA_LIST(FV_ISA_NAME)};
#undef FV_ISA_NAME
    return isa < FV_ISA_COUNT ? names[isa] : NULL;
}

static bool is_built(fv_isa isa) {
#define FV_ISA_BUILT(NAME, name, family, level) FV_BUILD_##NAME,
    static const bool built[] = {FV_ISA_LIST(FV_ISA_BUILT)};
#undef FV_ISA_BUILT
    return built[isa];
}

static bool text_equal(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

fv_status fv_isa_from_name(const char *name, fv_isa *isa) {
    for (uint32_t i = 0; name && isa && i < FV_ISA_COUNT; i++) {
        if (!text_equal(name, fv_isa_name((fv_isa)i))) continue;
        if (!is_built((fv_isa)i)) return FV_ERROR_UNSUPPORTED;
        *isa = (fv_isa)i;
        return FV_OK;
    }
    return FV_ERROR_ARGUMENT;
}
