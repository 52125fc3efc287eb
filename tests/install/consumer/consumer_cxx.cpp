/* consumer_cxx.cpp - the same from C++17: every name has C linkage, every header is C++ too. */
#include <fovea/fovea.h>
#include <fovea/reference/dither.h>
#include <fovea/reference/pattern.h>
#include <array>
#include <cstdio>
#include <string_view>

int main() {
    static std::array<std::uint64_t, FV_KERNELS_BYTES / sizeof(std::uint64_t)> memory;
    const fv_kernels *kernels = nullptr;
    if (fv_kernels_init(&kernels, FV_ISA_BEST, memory.data(), sizeof memory) != FV_OK) return 1;
    if (std::string_view(fv_version()) != FV_VERSION_STRING) return 1;
    fv_message message{};
    fv_pool *pool = nullptr;
    if (fv_pool_open(&pool, 2, &message) != FV_OK) return 1;
    fv_pool_close(pool);
    std::printf("fovea %s, %s\n", fv_version(), fv_isa_name(fv_kernels_isa(kernels)));
    return 0;
}
