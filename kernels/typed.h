/* typed.h - one name for each dtype: a template says v_add or TYPED(loop) and gets the f32 or the
 * f64 one, after the KIND that unit.inc has set.
 *
 * The v_ names are the vocabulary of the templates. vector_<isa>.inc defines the first group for
 * its registers, sleef.inc the second. A new instruction set writes one such file, and no template.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_TYPED_H
#define GRADUS_TYPED_H

#define TYPED_PASTE(name, kind)  name##_##kind
#define TYPED_EXPAND(name, kind) TYPED_PASTE(name, kind)
#define TYPED(name)              TYPED_EXPAND(name, KIND)

#define INLINE static inline __attribute__((always_inline))

#ifdef __clang__
#define UNROLL_FOR _Pragma("clang loop unroll(full)") for
#else
#define UNROLL_FOR _Pragma("GCC unroll 32") for
#endif

/* Types: WIDTH reals, what a comparison of them gives, and WIDE doubles. */
#define vec   TYPED(vec)
#define mask  TYPED(mask)
#define WIDTH TYPED(width)
#define wide  vec_f64
#define WIDE  width_f64

/* Memory. The part forms touch the first n < WIDTH elements only; the rest of the vector is 0. */
#define v_splat      TYPED(v_splat)
#define v_load       TYPED(v_load)
#define v_store      TYPED(v_store)
#define v_load_part  TYPED(v_load_part)
#define v_store_part TYPED(v_store_part)

/* Arithmetic beyond + - * /: a b + c rounded once, the IEEE square root, |x| and -|x| by the sign
   bit. */
#define v_fma       TYPED(v_fma)
#define v_sqrt      TYPED(v_sqrt)
#define v_abs       TYPED(v_abs)
#define v_minus_abs TYPED(v_minus_abs)

/* Comparisons are false for NaN. v_select(m, a, b) is a where m, else b. */
#define v_less       TYPED(v_less)
#define v_less_equal TYPED(v_less_equal)
#define v_equal      TYPED(v_equal)
#define v_not        TYPED(v_not)
#define v_and        TYPED(v_and)
#define v_or         TYPED(v_or)
#define v_any        TYPED(v_any)
#define v_select     TYPED(v_select)

/* To and from double: the part-th WIDE elements of a vector; WIDE reals in memory. */
#define v_widen      TYPED(v_widen)
#define v_load_wide  TYPED(v_load_wide)
#define v_store_wide TYPED(v_store_wide)

/* Functions, from sleef.inc. */
#define v_exp          TYPED(v_exp)
#define v_exp_negative TYPED(v_exp_negative)
#define v_log          TYPED(v_log)
#define v_log1p        TYPED(v_log1p)
#define v_tanh         TYPED(v_tanh)
#define v_pow          TYPED(v_pow)

#endif
