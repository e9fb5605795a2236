/* convert.c - tests of kernels/convert.c: every half, every value halfway between two, and random
 * values.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

/* f16 or bf16: a sign, an exponent and `fraction` bits. lowest: the exponent of the smallest normal
   number. */
typedef struct format {
    const char *name;
    int fraction, lowest;
    uint16_t infinity;
    float (*to_f32)(uint16_t);
    uint16_t (*from_f32)(float);
    uint16_t (*from_f64)(double);
} format;

static const format formats[] = {
    {"f16", 10, -14, 0x7c00, gr_f16_to_f32, gr_f32_to_f16, gr_f64_to_f16},
    {"bf16", 7, -126, 0x7f80, gr_bf16_to_f32, gr_f32_to_bf16, gr_f64_to_bf16},
};

#define EACH_FORMAT(f) for (const format *f = formats; f < formats + COUNT_OF(formats); f++)

/* The absolute value of a half. For infinity: the number that would follow the largest half. */
static double size_by_definition(const format *f, int half)
{
    const int whole = 1 << f->fraction, fraction = half % whole, exponent = half / whole;
    if (exponent == 0)
        return ldexp(fraction, f->lowest - f->fraction);
    return ldexp(whole + fraction, f->lowest + exponent - 1 - f->fraction);
}

/* The half nearest to a value that is not NaN. If two are equally near, the even one. */
static uint16_t nearest_by_definition(const format *f, double value)
{
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const double size = fabs(value), beyond = size_by_definition(f, f->infinity);
    if (size >= beyond)
        return sign | f->infinity;
    int exponent = size == 0 ? f->lowest : ilogb(size);
    exponent = exponent < f->lowest ? f->lowest : exponent;
    const int units = (int)nearbyint(ldexp(size, f->fraction - exponent));
    return (uint16_t)(sign | (((exponent - f->lowest) << f->fraction) + units));
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- Widening -------------------------------------------------------------------------------- */

/* The NaN is quiet and has the sign and the payload of the half. */
static bool widens_to_its_nan(const format *f, uint16_t half)
{
    const uint32_t payload = half & ((1u << f->fraction) - 1), sign = (half & 0x8000u) << 16;
    return bits_of(f->to_f32(half)) == (sign | 0x7fc00000u | payload << (23 - f->fraction));
}

Test(convert, every_half_widens_to_its_value)
{
    EACH_FORMAT(f) {
        int wrong = 0;
        for (int half = 0; half < 0x8000; half++) {
            const uint16_t minus = (uint16_t)(0x8000 | half);
            const float value = half == f->infinity ? INFINITY : (float)size_by_definition(f, half);
            if (half > f->infinity)
                wrong += !widens_to_its_nan(f, (uint16_t)half) || !widens_to_its_nan(f, minus);
            else
                wrong += bits_of(f->to_f32((uint16_t)half)) != bits_of(value) ||
                         bits_of(f->to_f32(minus)) != bits_of(-value);
        }
        cr_expect_eq(wrong, 0, "%s: %d of 32768", f->name, wrong);
    }
}

Test(convert, every_half_comes_back)
{
    EACH_FORMAT(f) {
        int wrong = 0;
        for (int half = 0; half < 0x10000; half++) {
            const float value = f->to_f32((uint16_t)half);
            const uint16_t quiet = isnan(value) ? (uint16_t)(1 << (f->fraction - 1)) : 0;
            wrong += f->from_f32(value) != (half | quiet);
            wrong += f->from_f64((double)value) != (half | quiet);
        }
        cr_expect_eq(wrong, 0, "%s: %d", f->name, wrong);
    }
}

/* ---- Rounding -------------------------------------------------------------------------------- */

static int wrong_f64(const format *f, double value, int half)
{
    return (f->from_f64(value) != half) + (f->from_f64(-value) != (half | 0x8000));
}

static int wrong_f32(const format *f, float value, int half)
{
    return (f->from_f32(value) != half) + (f->from_f32(-value) != (half | 0x8000));
}

/* From the value halfway between 0 and the smallest half to that between the largest and infinity.
   The next double on either side would be wrong if it were first rounded to float. */
Test(convert, only_halfway_values_are_rounded_to_even)
{
    EACH_FORMAT(f) {
        int wrong = 0;
        for (int half = 0; half < f->infinity; half++) {
            const double below = size_by_definition(f, half),
                         above = size_by_definition(f, half + 1);
            const double middle = (below + above) / 2;
            const int even = half + half % 2;
            wrong += wrong_f64(f, middle, even);
            wrong += wrong_f64(f, nextafter(middle, below), half);
            wrong += wrong_f64(f, nextafter(middle, above), half + 1);
            wrong += wrong_f32(f, (float)middle, even);
            wrong += wrong_f32(f, nextafterf((float)middle, 0), half);
            wrong += wrong_f32(f, nextafterf((float)middle, INFINITY), half + 1);
            wrong += wrong_f64(f, nextafter(above, 0), half + 1);
        }
        cr_expect_eq(wrong, 0, "%s: %d", f->name, wrong);
    }
}

Test(convert, any_float_goes_to_the_nearest)
{
    EACH_FORMAT(f) {
        int wrong = 0;
        for (uint32_t i = 0, bits = 0; i < 1u << 20; i++, bits += 4099) {
            float value;
            memcpy(&value, &bits, sizeof value);
            wrong += !isnan(value) && f->from_f32(value) != nearest_by_definition(f, (double)value);
        }
        cr_expect_eq(wrong, 0, "%s: %d", f->name, wrong);
    }
}

Test(convert, any_double_goes_to_the_nearest)
{
    reseed(3);
    EACH_FORMAT(f) {
        int wrong = 0;
        for (int i = 0; i < 500000; i++) {
            const int exponent =
                f->lowest - 13 + (int)(draw_bits() % (uint64_t)(34 - 2 * f->lowest));
            const double value = ldexp(draw(-2, 2), exponent);
            wrong += f->from_f64(value) != nearest_by_definition(f, value);
        }
        cr_expect_eq(wrong, 0, "%s: %d", f->name, wrong);
    }
}

/* ---- The ends -------------------------------------------------------------------------------- */

Test(convert, too_large_values_become_infinite)
{
    static const double large[] = {1e39, 1e300, DBL_MAX, INFINITY};
    EACH_FORMAT(f)
        for (int i = 0; i < COUNT_OF(large); i++)
            cr_expect_eq(wrong_f64(f, large[i], f->infinity), 0, "%s %g", f->name, large[i]);
    cr_expect_eq(wrong_f32(&formats[0], 65504, 0x7bff), 0);
    cr_expect_eq(wrong_f32(&formats[0], 65519.996f, 0x7bff), 0);
    cr_expect_eq(wrong_f32(&formats[0], 65520, 0x7c00), 0);
    cr_expect_eq(wrong_f64(&formats[0], nextafter(65520, 0), 0x7bff), 0);
    cr_expect_eq(wrong_f64(&formats[0], 65520, 0x7c00), 0);
    cr_expect_eq(wrong_f32(&formats[0], FLT_MAX, 0x7c00), 0);
    cr_expect_eq(wrong_f32(&formats[1], FLT_MAX, 0x7f80), 0);
    cr_expect_eq(wrong_f32(&formats[1], 0x1.fep127f, 0x7f7f), 0);
    cr_expect_eq(wrong_f64(&formats[1], nextafter(0x1.ffp127, 0), 0x7f7f), 0);
    cr_expect_eq(wrong_f64(&formats[1], 0x1.ffp127, 0x7f80), 0);
}

Test(convert, too_small_values_become_0_with_their_sign)
{
    static const double small[] = {0, 0x1p-1074, 1e-310, 1e-300, 1e-60};
    EACH_FORMAT(f) {
        const double least = size_by_definition(f, 1);
        for (int i = 0; i < COUNT_OF(small); i++)
            cr_expect_eq(wrong_f64(f, small[i], 0), 0, "%s %g", f->name, small[i]);
        cr_expect_eq(wrong_f64(f, least / 2, 0), 0, "%s", f->name);
        cr_expect_eq(wrong_f64(f, nextafter(least / 2, 1), 1), 0, "%s", f->name);
        cr_expect_eq(wrong_f64(f, least * 1.5, 2), 0, "%s", f->name);
    }
    cr_expect_eq(wrong_f32(&formats[0], 0x1p-149f, 0), 0);
    cr_expect_eq(wrong_f32(&formats[1], 0x1p-149f, 0), 0);
}

/* A NaN stays a NaN of the same sign, even if a half has no room for any bit of its payload. */
Test(convert, nan_stays_nan)
{
    static const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0x7f801fff, 0x7fa00000};
    EACH_FORMAT(f)
        for (int i = 0; i < COUNT_OF(nans); i++)
            for (uint32_t sign = 0; sign < 2; sign++) {
                const uint32_t bits = nans[i] | sign << 31;
                float value;
                memcpy(&value, &bits, sizeof value);
                const uint16_t narrow = f->from_f32(value), from_wide = f->from_f64((double)value);
                cr_expect_gt(narrow & 0x7fff, f->infinity, "%s %x", f->name, bits);
                cr_expect_eq(narrow >> 15, sign, "%s %x", f->name, bits);
                cr_expect_eq(from_wide, narrow, "%s %x", f->name, bits);
            }
}
