/* unit_scalar.c - the kernels for one element at a time, with fused multiply-adds. All other
 * kernels must give the same bits.
 *
 * SPDX-License-Identifier: MIT
 */
#define UNIT_NAME      "scalar"
#define UNIT_TABLE     gr_kernels_scalar
#define UNIT_VECTOR    "vector_scalar.inc"
#define UNIT_TILE_ROWS 6
#include "unit.inc"
