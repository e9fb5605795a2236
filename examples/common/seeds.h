/* seeds.h - one --seed, several independent streams of random numbers.
 *
 * What is drawn for one purpose must not shift because another one drew more, or `predict` could
 * not repeat the split that `train` made. So each purpose has a context, and a seed, of its own.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_SEEDS_H
#define EXAMPLES_SEEDS_H

#include <stdint.h>

typedef enum purpose { FOR_TRAINING = 0, FOR_MOONS, FOR_TEST, FOR_VALIDATION, PURPOSES } purpose;

static inline uint64_t seed_for(uint64_t seed, purpose why) { return seed * PURPOSES + why; }

#endif
