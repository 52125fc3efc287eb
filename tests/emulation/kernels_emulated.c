/* kernels_emulated.c - the tables as processors with AVX-512 and with AVX-VNNI get them; the kernels themselves are
 * SIMDe's (immintrin.h). */
#include "platform/cpu.h"

#define fv_cpu_isa() FV_ISA_AVX512
#define fv_cpu_has_avxvnni() true
#include "kernels/kernels.c"
