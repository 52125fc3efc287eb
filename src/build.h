/* build.h - what is built in. Every switch is 0 or 1 and 1 unless the compiler's command says otherwise
 * (-DFV_BUILD_Q8=0). A function that nobody calls is dropped by the linker (-ffunction-sections, --gc-sections) without
 * any switch; these are for what is reached through the table of kernels, and for builds of one file. docs/size.md says
 * what each costs. */
#ifndef FV_BUILD_H
#define FV_BUILD_H

/* Sums keep their order and NaN is noticed, or nothing is built. */
#if defined __FAST_MATH__ || (defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__) || defined __ASSOCIATIVE_MATH__ || \
    defined __RECIPROCAL_MATH__
#error "fovea: -ffast-math, and each of what it is made of, makes its results wrong; compile it without them"
#endif

/* Elements of caches besides F32; without its switch a type is FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_F16
#define FV_BUILD_F16 1
#endif
#ifndef FV_BUILD_BF16
#define FV_BUILD_BF16 1
#endif
/* Products of pairs of bf16, where an instruction set that has them is in the build. */
#if defined FV_BUILD_AVX512BF16
#define FV_BUILD_PAIRS (FV_BUILD_BF16 && FV_BUILD_AVX512BF16)
#else
#define FV_BUILD_PAIRS 0
#endif
#ifndef FV_BUILD_Q8
#define FV_BUILD_Q8 1
#endif
#ifndef FV_BUILD_Q4
#define FV_BUILD_Q4 1
#endif

/* Soft caps on scores (gemma 2); without it a cap is FV_ERROR_ARGUMENT. */
#ifndef FV_BUILD_SOFTCAP
#define FV_BUILD_SOFTCAP 1
#endif

/* Several rows in one call of attention; without it that is FV_ERROR_UNSUPPORTED, and decoding is what is left. */
#ifndef FV_BUILD_PROMPT
#define FV_BUILD_PROMPT 1
#endif

/* What will be read next is told to kernels that can fetch it ahead; of no use without a data cache. */
#ifndef FV_BUILD_AHEAD
#define FV_BUILD_AHEAD 1
#endif

/* Policies that choose by the queries (FV_SELECTOR_FOVEA) and the shadow of a cache; without it both are
 * FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_CHOOSE
#define FV_BUILD_CHOOSE 1
#endif

/* Rows of a prompt that choose are read together, page by page; without it two by two, of the same bits. */
#ifndef FV_BUILD_LISTS
#define FV_BUILD_LISTS (FV_BUILD_PROMPT && FV_BUILD_CHOOSE)
#endif
#if FV_BUILD_LISTS && !(FV_BUILD_PROMPT && FV_BUILD_CHOOSE)
#error "FV_BUILD_LISTS needs FV_BUILD_PROMPT and FV_BUILD_CHOOSE"
#endif

/* Certificates of what such a policy reads (fv_policy.certificate), and margins of a cache; without it both are
 * FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_CERTIFICATE
#define FV_BUILD_CERTIFICATE FV_BUILD_CHOOSE
#endif
#if FV_BUILD_CERTIFICATE && !FV_BUILD_CHOOSE
#error "FV_BUILD_CERTIFICATE needs FV_BUILD_CHOOSE"
#endif

/* The tail of such a policy (fv_policy.tail) and tail of a cache; without it both are FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_TAIL
#define FV_BUILD_TAIL FV_BUILD_CHOOSE
#endif
#if FV_BUILD_TAIL && !FV_BUILD_CHOOSE
#error "FV_BUILD_TAIL needs FV_BUILD_CHOOSE"
#endif

/* Counters of fovea/report.h and observers of fovea/attention.h; without it a report is FV_ERROR_UNSUPPORTED and no
 * observer is called. */
#ifndef FV_BUILD_REPORT
#define FV_BUILD_REPORT 1
#endif

/* Deadlines; without it one is FV_ERROR_UNSUPPORTED (to fovea/reference/pattern.h: FV_ERROR_ARGUMENT). */
#ifndef FV_BUILD_DEADLINE
#define FV_BUILD_DEADLINE 1
#endif

/* fovea/state.h for users, and what leaves a call besides attention (fv_attention_rows.lse,
 * fv_attention_config.executor); without it such a call is FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_STATE
#define FV_BUILD_STATE 1
#endif

/* Caches whose tokens lie in segments (fv_cache_segments_init()); without it that is FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_SEGMENTS
#define FV_BUILD_SEGMENTS 1
#endif

/* Whole headers of functions: fovea/reference/gate.h and gated calls, fovea/reference/evict.h, saving and restoring of
 * fovea/cache.h, fovea/reference/dither.h, fovea/model.h. */
#ifndef FV_BUILD_GATE
#define FV_BUILD_GATE 1
#endif
#ifndef FV_BUILD_EVICT
#define FV_BUILD_EVICT 1
#endif
#ifndef FV_BUILD_FILE
#define FV_BUILD_FILE 1
#endif
#ifndef FV_BUILD_DITHER
#define FV_BUILD_DITHER 1
#endif
#ifndef FV_BUILD_MODEL
#define FV_BUILD_MODEL 1
#endif

/* Weights in types whose quants are looked up (FV_WEIGHT_GRID_LIST); without it they are FV_ERROR_ARGUMENT. */
#ifndef FV_BUILD_GRIDS
#define FV_BUILD_GRIDS 1
#endif

/* Several sequences in one step of a model, and models without caches of their own (fv_model_step()); without it a step
 * has one part, over the model's own caches, and anything else is FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_STEP
#define FV_BUILD_STEP FV_BUILD_MODEL
#endif
#if FV_BUILD_STEP && !FV_BUILD_MODEL
#error "FV_BUILD_STEP needs FV_BUILD_MODEL"
#endif

/* Contexts that several ranks hold together (fovea/exchange.h); without it that is FV_ERROR_UNSUPPORTED. */
#ifndef FV_BUILD_EXCHANGE
#define FV_BUILD_EXCHANGE (FV_BUILD_STEP && FV_BUILD_LISTS && FV_BUILD_SEGMENTS && FV_BUILD_STATE)
#endif
#if FV_BUILD_EXCHANGE && !(FV_BUILD_LISTS && FV_BUILD_SEGMENTS && FV_BUILD_STATE)
#error "FV_BUILD_EXCHANGE needs FV_BUILD_LISTS, FV_BUILD_SEGMENTS and FV_BUILD_STATE"
#endif

#endif
