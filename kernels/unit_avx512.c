/* unit_avx512.c - the kernels for 512-bit registers (AVX-512 F, DQ, BW, VL).
 *
 * SPDX-License-Identifier: MIT
 */
#define UNIT_NAME      "avx512"
#define UNIT_TABLE     gr_kernels_avx512
#define UNIT_VECTOR    "vector_avx512.inc"
#define UNIT_TILE_ROWS 12
#include "unit.inc"
