/* kernels_emulated.c - the table as a processor with AVX-512 gets it; the kernels themselves are SIMDe's (immintrin.h).
 */
#include "platform/cpu.h"

#define fv_cpu_isa() FV_ISA_AVX512
#include "kernels/kernels.c"
