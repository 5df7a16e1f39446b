/* The 16-bit floating formats as bits: to f32 exactly, from f32 to the nearest, ties to even. */
#ifndef TANDEM_MODEL_TENSOR_HALF_H
#define TANDEM_MODEL_TENSOR_HALF_H

#include <stdint.h>
#include <string.h>

static inline float td_bits_to_f32(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t td_f32_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float td_bf16_to_f32(uint16_t half) { return td_bits_to_f32((uint32_t)half << 16); }

static inline uint16_t td_f32_to_bf16(float value) {
    uint32_t bits = td_f32_to_bits(value);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40); /* keeps a NaN one */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float td_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00) return td_bits_to_f32(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    /* As if the exponent were f32's, then its bias put right; subnormals come out exactly too. */
    float value = td_bits_to_f32(rest << 13) * 0x1p112f;
    return td_bits_to_f32(sign | td_f32_to_bits(value));
}

static inline uint16_t td_f32_to_f16(float value) {
    uint32_t bits = td_f32_to_bits(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (rest >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 65536 and above */
    if (rest < 0x38800000) { /* subnormal: adding 0.5 lets the addition round to multiples of 2^-24 */
        float sum = td_bits_to_f32(rest) + 0.5f;
        return (uint16_t)(sign | (td_f32_to_bits(sum) - 0x3f000000));
    }
    uint32_t rounded = rest - 0x38000000 + 0xfff + (rest >> 13 & 1);
    return (uint16_t)(sign | rounded >> 13);
}

#endif
