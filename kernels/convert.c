/* convert.c - f16 and bf16 from and to the types that kernels compute in, rounded once to nearest
 * even. A NaN keeps its sign and the upper bits of its payload, and becomes quiet.
 *
 * f16 has a sign, 5 bits of exponent (bias 15) and 10 of fraction; bf16 is the upper half of an
 * f32.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels.h"

#include <string.h>

enum {
    F32_INFINITY = 0x7f800000,
    F32_QUIET = 0x00400000,
    F16_INFINITY = 0x7c00,
    F16_QUIET = 0x0200
};

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* value without its lowest `count` bits (1 to 31), rounded to nearest even. */
static uint32_t without(uint32_t value, int count)
{
    uint32_t below_half = ((uint32_t)1 << (count - 1)) - 1;
    uint32_t odd = value >> count & 1;
    return (value + below_half + odd) >> count;
}

/* value as f32, rounded to odd. If value is not an f32, this is the neighbour whose last bit is 1.
   Rounding it again, to fewer bits, gives the same result as rounding value only once. */
static float rounded_to_odd(double value)
{
    float nearest = (float)value;
    double back = (double)nearest;
    uint32_t bits = bits_of(nearest);
    if (back == value || value != value || (bits & 1))
        return nearest;
    bool away_from_0 = (back > value) == (value > 0);
    return float_of(away_from_0 ? bits - 1 : bits + 1);
}

float gr_bf16_to_f32(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    bool is_nan = (bits & INT32_MAX) > F32_INFINITY;
    return float_of(is_nan ? bits | F32_QUIET : bits);
}

uint16_t gr_f32_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if (value != value)
        return (uint16_t)((bits | F32_QUIET) >> 16);
    return (uint16_t)without(bits, 16);
}

uint16_t gr_f64_to_bf16(double value) { return gr_f32_to_bf16(rounded_to_odd(value)); }

float gr_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, size = half & 0x7fff;
    if (size > F16_INFINITY)
        return float_of(sign | F32_INFINITY | F32_QUIET | (size & 0x3ff) << 13);
    if (size == F16_INFINITY)
        return float_of(sign | F32_INFINITY);
    if (size < 0x0400) /* 0 or a denormal: a multiple of 2^-24 */
        return float_of(sign | bits_of((float)size * 0x1p-24f));
    return float_of(sign | ((size << 13) + ((127 - 15) << 23)));
}

uint16_t gr_f32_to_f16(float value)
{
    uint32_t bits = bits_of(value), size = bits & INT32_MAX;
    uint32_t sign = bits >> 16 & 0x8000;
    if (size > F32_INFINITY)
        return (uint16_t)(sign | F16_INFINITY | F16_QUIET | (size >> 13 & 0x3ff));
    if (size >= bits_of(65520)) /* halfway between the largest f16 and 2^16 */
        return (uint16_t)(sign | F16_INFINITY);
    if (size >= bits_of(0x1p-14f)) /* a carry from the fraction goes into the exponent, correctly */
        return (uint16_t)(sign | without(size - ((127 - 15) << 23), 13));
    if (size < bits_of(0x1p-25f)) /* less than half of the smallest f16 */
        return (uint16_t)sign;
    int shift = 126 - (int)(size >> 23); /* the unit of the result is 2^-24 */
    uint32_t fraction = (size & 0x007fffff) | 0x00800000;
    return (uint16_t)(sign | without(fraction, shift));
}

uint16_t gr_f64_to_f16(double value) { return gr_f32_to_f16(rounded_to_odd(value)); }
