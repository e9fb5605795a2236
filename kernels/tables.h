/* tables.h - the tables of all units, for choose.c. A processor can run only some of them.
 * SPDX-License-Identifier: MIT */
#ifndef GRADUS_TABLES_H
#define GRADUS_TABLES_H

#include "kernels.h"

#define GR_HIDDEN __attribute__((visibility("hidden")))

extern const gr_kernels gr_kernels_scalar GR_HIDDEN;
extern const gr_kernels gr_kernels_avx2 GR_HIDDEN;
extern const gr_kernels gr_kernels_avx512 GR_HIDDEN;

#endif
