/* philox.c - random bits that are a function of seed, stream and index.
 *
 * Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011): ten rounds turn the counter (index, stream) into four words under the key (seed).
 *
 * SPDX-License-Identifier: MIT
 */
#include "core/base/base.h"

gr_words gr_philox(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    gr_words w = {
        {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)}};
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)0xD2511F53u * w.at[0];
        const uint64_t product1 = (uint64_t)0xCD9E8D57u * w.at[2];
        w = (gr_words){{(uint32_t)(product1 >> 32) ^ w.at[1] ^ key0, (uint32_t)product1,
                        (uint32_t)(product0 >> 32) ^ w.at[3] ^ key1, (uint32_t)product0}};
        key0 += 0x9E3779B9u; /* the paper's constants: from the golden ratio and from sqrt(3) - 1 */
        key1 += 0xBB67AE85u;
    }
    return w;
}
