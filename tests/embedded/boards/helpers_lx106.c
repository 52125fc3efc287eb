/* helpers_lx106.c - the arithmetic that Debian's libgcc for the lx106 leaves to the ROM of an ESP8266, which QEMU has
 * not: products, quotients and remainders of integers, and IEEE single precision with rounding to nearest even. Bits at
 * a time, since speed is nobody's concern here; no function may divide or use a float, or it would call itself. */
#include <stdint.h>

typedef union single {
    uint32_t bits;
    float value;
} single;

#define SIGN 0x80000000u
#define INFINITE 0x7F800000u
#define QUIET_NAN 0x7FC00000u

/* As libgcc names them. */
uint64_t __muldi3(uint64_t a, uint64_t b);
uint64_t __umulsidi3(uint32_t a, uint32_t b);
uint64_t __udivdi3(uint64_t a, uint64_t b);
uint64_t __umoddi3(uint64_t a, uint64_t b);
int64_t __divdi3(int64_t a, int64_t b);
uint32_t __udivsi3(uint32_t a, uint32_t b);
uint32_t __umodsi3(uint32_t a, uint32_t b);
int32_t __divsi3(int32_t a, int32_t b);
float __addsf3(float a, float b);
float __subsf3(float a, float b);
float __mulsf3(float a, float b);
float __divsf3(float a, float b);
float __floatsisf(int32_t a);
float __floatunsisf(uint32_t a);
uint32_t __fixunssfsi(float a);

/* ---- integers ---- */

static uint64_t product(uint32_t a, uint32_t b) {
    uint64_t sum = 0, shifted = a;
    for (; b; b >>= 1, shifted <<= 1)
        if (b & 1) sum += shifted;
    return sum;
}

uint64_t __umulsidi3(uint32_t a, uint32_t b) { return product(a, b); }

uint64_t __muldi3(uint64_t a, uint64_t b) {
    uint64_t sum = 0;
    for (; b; b >>= 1, a <<= 1)
        if (b & 1) sum += a;
    return sum;
}

static uint64_t divide(uint64_t a, uint64_t b, uint64_t *rest) {
    uint64_t quotient = 0, left = 0;
    for (int bit = 63; bit >= 0; bit--) {
        uint64_t carry = left >> 63;
        left = left << 1 | (a >> bit & 1);
        if (!carry && left < b) continue;
        left -= b;
        quotient |= UINT64_C(1) << bit;
    }
    *rest = left;
    return quotient;
}

uint64_t __udivdi3(uint64_t a, uint64_t b) {
    uint64_t rest;
    return divide(a, b, &rest);
}

uint64_t __umoddi3(uint64_t a, uint64_t b) {
    uint64_t rest;
    divide(a, b, &rest);
    return rest;
}

int64_t __divdi3(int64_t a, int64_t b) {
    uint64_t quotient = __udivdi3(a < 0 ? 0 - (uint64_t)a : (uint64_t)a, b < 0 ? 0 - (uint64_t)b : (uint64_t)b);
    return (int64_t)((a < 0) != (b < 0) ? 0 - quotient : quotient);
}

uint32_t __udivsi3(uint32_t a, uint32_t b) { return (uint32_t)__udivdi3(a, b); }
uint32_t __umodsi3(uint32_t a, uint32_t b) { return (uint32_t)__umoddi3(a, b); }
int32_t __divsi3(int32_t a, int32_t b) { return (int32_t)__divdi3(a, b); }

/* ---- single precision ---- */

static uint32_t bits_of(float x) { return (single){.value = x}.bits; }
static float float_of(uint32_t bits) { return (single){.bits = bits}.value; }

/* x >> count, the last bit set if any bit falls out. */
static uint64_t shift_sticky(uint64_t x, int count) {
    if (count <= 0) return x;
    if (count > 63) return x != 0;
    return x >> count | ((x & ((UINT64_C(1) << count) - 1)) != 0);
}

/* mantissa * 2^exponent, rounded. */
static float rounded(uint32_t sign, int exponent, uint64_t mantissa) {
    if (!mantissa) return float_of(sign);
    while (mantissa < UINT64_C(1) << 62) mantissa <<= 1, exponent--;
    while (mantissa >= UINT64_C(1) << 63) mantissa = shift_sticky(mantissa, 1), exponent++;
    int biased = exponent + 62 + 127; /* of 1.x * 2^(exponent + 62) */
    if (biased >= 255) return float_of(sign | INFINITE);
    int drop = 62 - 23 + (biased < 1 ? 1 - biased : 0);
    uint64_t kept = shift_sticky(mantissa, drop - 2); /* two more bits: half, and whether more follows */
    uint32_t bits = (uint32_t)(kept >> 2), below = (uint32_t)(kept & 3);
    if (below == 3 || (below == 2 && (bits & 1))) bits++;
    if (biased >= 1) bits += (uint32_t)(biased - 1) << 23; /* the hidden bit adds one more; so does a carry */
    return float_of(sign | bits);
}

/* Exponent of the last bit, and the integer. */
static uint32_t mantissa_of(uint32_t bits, int *exponent) {
    int biased = (int)(bits >> 23 & 255);
    *exponent = (biased ? biased : 1) - 127 - 23;
    return (bits & 0x7FFFFFu) | (biased ? 0x800000u : 0);
}

float __addsf3(float a, float b) {
    uint32_t x = bits_of(a), y = bits_of(b);
    if ((x & ~SIGN) < (y & ~SIGN)) {
        uint32_t swap = x;
        x = y;
        y = swap;
    }
    if ((x & ~SIGN) > INFINITE) return float_of(QUIET_NAN);
    if ((x & ~SIGN) == INFINITE) return float_of((y & ~SIGN) == INFINITE && x != y ? QUIET_NAN : x);
    int high, low;
    uint64_t big = (uint64_t)mantissa_of(x, &high) << 32, small = (uint64_t)mantissa_of(y, &low) << 32;
    small = shift_sticky(small, high - low);
    if ((x ^ y) & SIGN) {
        if (big == small) return 0.0f;
        return rounded(x & SIGN, high - 32, big - small);
    }
    return rounded(x & SIGN, high - 32, big + small);
}

float __subsf3(float a, float b) { return __addsf3(a, float_of(bits_of(b) ^ SIGN)); }

float __mulsf3(float a, float b) {
    uint32_t x = bits_of(a) & ~SIGN, y = bits_of(b) & ~SIGN, sign = (bits_of(a) ^ bits_of(b)) & SIGN;
    if (x > INFINITE || y > INFINITE) return float_of(QUIET_NAN);
    if (x == INFINITE || y == INFINITE) return float_of(x == 0 || y == 0 ? QUIET_NAN : sign | INFINITE);
    int p, q;
    uint32_t m = mantissa_of(x, &p), n = mantissa_of(y, &q);
    return rounded(sign, p + q, product(m, n));
}

float __divsf3(float a, float b) {
    uint32_t x = bits_of(a) & ~SIGN, y = bits_of(b) & ~SIGN, sign = (bits_of(a) ^ bits_of(b)) & SIGN;
    if (x > INFINITE || y > INFINITE || (x == y && (x == 0 || x == INFINITE))) return float_of(QUIET_NAN);
    if (x == INFINITE || y == 0) return float_of(sign | INFINITE);
    if (x == 0 || y == INFINITE) return float_of(sign);
    int p, q;
    uint64_t m = (uint64_t)mantissa_of(x, &p) << 39, n = mantissa_of(y, &q), rest;
    while (m < UINT64_C(1) << 62) m <<= 1, p--;
    uint64_t quotient = divide(m, n, &rest);
    return rounded(sign, p - q - 40, quotient << 1 | (rest != 0));
}

float __floatunsisf(uint32_t a) { return rounded(0, 0, a); }
float __floatsisf(int32_t a) { return rounded(a < 0 ? SIGN : 0, 0, a < 0 ? 0u - (uint32_t)a : (uint32_t)a); }

uint32_t __fixunssfsi(float a) {
    int exponent;
    uint32_t bits = bits_of(a), mantissa = mantissa_of(bits, &exponent);
    if (bits & SIGN || exponent < -31) return 0;
    if (exponent >= 0) return exponent > 8 ? UINT32_MAX : mantissa << exponent;
    return mantissa >> -exponent;
}
