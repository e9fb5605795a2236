/* unit_avx2.c - the kernels for 256-bit registers with fused multiply-adds.
 *
 * SPDX-License-Identifier: MIT
 */
#define UNIT_NAME      "avx2"
#define UNIT_TABLE     gr_kernels_avx2
#define UNIT_VECTOR    "vector_avx2.inc"
#define UNIT_TILE_ROWS 6
#include "unit.inc"
