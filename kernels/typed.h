/* typed.h - names that stand for the f32 or the f64 function. A template writes v_fma or
 * TYPED(loop); the KIND that unit.inc defines chooses between the two.
 *
 * Templates use only the names below. vector_<isa>.inc defines those for memory, arithmetic,
 * comparison and double, and sleef.inc defines the functions. A new instruction set needs only a
 * new vector_<isa>.inc and a new unit.
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

/* Types: vec has WIDTH reals, mask is the result of comparing them, wide has WIDE doubles. */
#define vec   TYPED(vec)
#define mask  TYPED(mask)
#define WIDTH TYPED(width)
#define wide  vec_f64
#define WIDE  width_f64

/* Memory. v_load_part and v_store_part access only the first n elements, n < WIDTH. The rest of a
   loaded vector is 0. */
#define v_splat      TYPED(v_splat)
#define v_load       TYPED(v_load)
#define v_store      TYPED(v_store)
#define v_load_part  TYPED(v_load_part)
#define v_store_part TYPED(v_store_part)

/* Arithmetic other than + - * /. v_fma is a b + c rounded once; v_sqrt is the IEEE square root;
   v_abs and v_minus_abs clear and set the sign bit. v_power_of_two(q) is 2^q for whole numbers q
   from -126 to 127; it exists for floats only. */
#define v_fma          TYPED(v_fma)
#define v_sqrt         TYPED(v_sqrt)
#define v_abs          TYPED(v_abs)
#define v_minus_abs    TYPED(v_minus_abs)
#define v_power_of_two TYPED(v_power_of_two)

/* Comparisons are false for NaN. v_select(m, a, b) is a where m is true, otherwise b. */
#define v_less       TYPED(v_less)
#define v_less_equal TYPED(v_less_equal)
#define v_equal      TYPED(v_equal)
#define v_not        TYPED(v_not)
#define v_and        TYPED(v_and)
#define v_or         TYPED(v_or)
#define v_any        TYPED(v_any)
#define v_select     TYPED(v_select)

/* To and from double. v_widen(x, part) is elements part * WIDE to part * WIDE + WIDE - 1 of x.
   v_load_wide and v_store_wide convert WIDE reals in memory. */
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
