/* cpu.h - what this processor and its operating system can run; no state, no libc. */
#ifndef FV_CPU_H
#define FV_CPU_H

#include "fovea/isa.h"
#include <stdbool.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

static inline bool fv_cpu_has_avxvnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

/* Dot products of bf16; in 512-bit registers where the processor has AVX-512. */
static inline bool fv_cpu_has_bf16(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}

/* XCR0 says which registers the operating system saves: a processor flag alone is not enough. */
static inline fv_isa fv_cpu_isa(void) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return FV_ISA_SCALAR;
    bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
    if (!osxsave || !avx || !fma || !f16c) return FV_ISA_SCALAR;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b >> 5 & 1)) return FV_ISA_SCALAR;
    bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1, vnni = c >> 11 & 1;
    if ((low & 0xE6) != 0xE6 || !f || !dq || !bw || !vl || !vnni)
        return fv_cpu_has_avxvnni() ? FV_ISA_AVXVNNI : FV_ISA_AVX2;
    return fv_cpu_has_bf16() ? FV_ISA_AVX512BF16 : FV_ISA_AVX512;
}
#elif defined(__aarch64__)
#if defined(__linux__) && __STDC_HOSTED__
#include <sys/auxv.h>

/* The bits of AT_HWCAP (16) and AT_HWCAP2 (26) are the kernel's interface and never change. */
static inline fv_isa fv_cpu_isa(void) {
    bool asimd = getauxval(16) >> 1 & 1, dotprod = getauxval(16) >> 20 & 1, i8mm = getauxval(26) >> 13 & 1;
    if (!asimd) return FV_ISA_SCALAR;
    return !dotprod ? FV_ISA_NEON : !i8mm ? FV_ISA_NEON_DOTPROD : FV_ISA_NEON_I8MM;
}
#else
/* Nobody to ask: what the compiler was told. */
static inline fv_isa fv_cpu_isa(void) {
#if defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)
    return FV_ISA_NEON_I8MM;
#elif defined(__ARM_FEATURE_DOTPROD)
    return FV_ISA_NEON_DOTPROD;
#else
    return FV_ISA_NEON;
#endif
}
#endif
#else
static inline fv_isa fv_cpu_isa(void) { return FV_ISA_SCALAR; }
#endif

#if !defined(__x86_64__) || !defined(__GNUC__)
static inline bool fv_cpu_has_avxvnni(void) { return false; }
static inline bool fv_cpu_has_bf16(void) { return false; }
#endif

#endif
