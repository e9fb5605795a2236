/* float_mode.h - the processor's floating-point mode while gradus computes.
 *
 * A host program may have set another mode in some of its threads: flush to zero (FTZ, DAZ),
 * another rounding, traps. Then the bits would depend on the host, and on the thread that computes
 * an element. So each call that computes sets the standard mode and gives the host's back. Reading
 * the mode costs about a nanosecond, and it is set only if it is another one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_CORE_BASE_FLOAT_MODE_H
#define GRADUS_CORE_BASE_FLOAT_MODE_H

/* A compiler may move arithmetic over a change of the mode, as it does not know that they depend on
   each other. So numbers that are computed between begin and end in one function go through this,
   operands and results. */
static inline double gr_stay_in_mode(double x)
{
    volatile double kept = x;
    return kept;
}

#ifdef __x86_64__
#include <xmmintrin.h>

/* MXCSR: bits 0 to 5 are the exceptions that have occurred, and not a mode. Standard: all
   exceptions masked, rounding to nearest, no FTZ, no DAZ (Intel's manual, volume 1, 10.2.3). */
typedef unsigned gr_float_mode;
enum { GR_STANDARD_MODE = 0x1f80, GR_MODE_BITS = 0xffc0 };

static inline void gr_change_float_mode(unsigned now, unsigned to)
{
    if (__builtin_expect(((now ^ to) & GR_MODE_BITS) != 0, 0))
        _mm_setcsr(to);
}

/* Sets the standard mode. Returns the mode before it, for gr_float_mode_end. */
static inline gr_float_mode gr_float_mode_begin(void)
{
    const unsigned host = _mm_getcsr();
    gr_change_float_mode(host, GR_STANDARD_MODE);
    return host;
}

static inline void gr_float_mode_end(gr_float_mode host)
{
    gr_change_float_mode(GR_STANDARD_MODE, host);
}

#else
#include <fenv.h>

typedef fenv_t gr_float_mode;

static inline gr_float_mode gr_float_mode_begin(void)
{
    fenv_t host;
    fegetenv(&host);
    fesetenv(FE_DFL_ENV);
    return host;
}

static inline void gr_float_mode_end(gr_float_mode host) { fesetenv(&host); }
#endif

#endif
