/* seeds.h - makes several independent streams of random numbers from one --seed.
 *
 * More draws for one purpose must not change the draws for another. Otherwise `predict` could not
 * repeat the split that `train` made. So each purpose has its own context with its own seed.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_SEEDS_H
#define EXAMPLES_SEEDS_H

#include <stdint.h>

typedef enum purpose { FOR_TRAINING = 0, FOR_MOONS, FOR_TEST, FOR_VALIDATION, PURPOSES } purpose;

static inline uint64_t seed_for(uint64_t seed, purpose why) { return seed * PURPOSES + why; }

#endif
