#include "kernels.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINED static inline __attribute__((always_inline))

/* What a kernel measures of each code of a group: the sum over the planes of 2^plane * popcount(code XOR plane), at most
   15 for each dimension, which grows as the cosine falls. This makes estimates of it, and tells whether one of them is
   not below the bound. */
INLINED bool estimate(const struct planes *query, const int32_t *found, const float *factors, float bound,
                      float *estimates)
{
    int32_t all = LARGEST * (int32_t)query->dimension, hits = 0;
    for (int lane = 0; lane < GROUP; lane++) {
        estimates[lane] = (float)(all - 2 * found[lane]) * factors[lane];
        hits |= estimates[lane] < bound ? 0 : 1;
    }
    return hits;
}

enum { AHEAD = 8 }; /* groups */

/* Asks for the words of a group that comes soon: the processor sees no pattern in the places of a few. */
INLINED void prefetch(const struct planes *query, const struct run *run, size_t next)
{
    for (size_t word = 0; run->groups && next + AHEAD < run->count && word < query->words; word++)
        __builtin_prefetch(run->words + (run->groups[next + AHEAD] * query->words + word) * GROUP);
}

/* The loop that all share, around what measures one group. */
#define KERNEL(name, target, measure)                                                                                  \
    target static size_t name(const struct planes *query, const struct run *run, size_t next, float bound,             \
                              float *estimates)                                                                        \
    {                                                                                                                  \
        for (; next < run->count; next++) {                                                                            \
            size_t group = run->groups ? run->groups[next] : next;                                                     \
            int32_t found[GROUP];                                                                                      \
            prefetch(query, run, next);                                                                                \
            measure(query, run->words + group * GROUP * query->words, found);                                          \
            if (estimate(query, found, run->factors + group * GROUP, bound, estimates))                                \
                break;                                                                                                 \
        }                                                                                                              \
        return next;                                                                                                   \
    }

/* For any processor: the bits of each byte are counted side by side, as in Warren, Hacker's Delight, 5-1. Those of four
   planes, weighed, are at most 120 in a byte. */
INLINED void measure_plain(const struct planes *query, const uint64_t *words, int32_t *found)
{
    const uint64_t ones = ~(uint64_t)0, pairs = ones / 3, fours = ones / 5, eights = ones / 17, wide = ones / 257;
    uint64_t sums[GROUP] = {0};
    for (size_t word = 0; word < query->words; word++, words += GROUP)
        for (int lane = 0; lane < GROUP; lane++) {
            uint64_t bytes = 0;
            for (int plane = PLANES - 1; plane >= 0; plane--) {
                uint64_t bits = words[lane] ^ query->bits[word * PLANES + (size_t)plane];
                bits -= bits >> 1 & pairs;
                bits = (bits & fours) + (bits >> 2 & fours);
                bytes += bytes + ((bits + (bits >> 4)) & eights);
            }
            bytes = (bytes & wide) + (bytes >> 8 & wide);
            bytes += bytes >> 16;
            sums[lane] += (bytes + (bytes >> 32)) & 0xFFFF;
        }
    for (int lane = 0; lane < GROUP; lane++)
        found[lane] = (int32_t)sums[lane];
}

KERNEL(find_plain, , measure_plain)

#if defined(__x86_64__)

#define WITH_AVX2 __attribute__((target("avx2")))
#define WITH_AVX512 __attribute__((target("avx2,avx512f,avx512vl,avx512vpopcntdq")))

/* Four codes a vector; the bits of half a byte are looked up, as Mula, Kurz and Lemire 2018 do
   (https://arxiv.org/abs/1611.07612). The bits of four planes, weighed, are at most 120 in a byte: two words' fit. */
WITH_AVX2 INLINED __m256i weighed_bits(__m256i codes, const uint64_t *planes)
{
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                            0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    __m256i sum = _mm256_setzero_si256();
    for (int plane = PLANES - 1; plane >= 0; plane--) {
        __m256i differ = _mm256_xor_si256(codes, _mm256_set1_epi64x((long long)planes[plane]));
        __m256i low = _mm256_shuffle_epi8(counts, _mm256_and_si256(differ, nibble));
        __m256i high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(differ, 4), nibble));
        sum = _mm256_add_epi8(_mm256_add_epi8(sum, sum), _mm256_add_epi8(low, high));
    }
    return sum;
}

WITH_AVX2 INLINED void measure_avx2(const struct planes *query, const uint64_t *words, int32_t *found)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i sums[2] = {zero, zero};
    for (size_t word = 0; word < query->words; word++, words += GROUP)
        for (int half = 0; half < 2; half++) {
            __m256i codes = _mm256_load_si256((const __m256i *)words + half);
            __m256i bits = weighed_bits(codes, query->bits + word * PLANES);
            sums[half] = _mm256_add_epi64(sums[half], _mm256_sad_epu8(bits, zero));
        }
    uint64_t all[GROUP];
    _mm256_storeu_si256((__m256i *)all, sums[0]);
    _mm256_storeu_si256((__m256i *)all + 1, sums[1]);
    for (int lane = 0; lane < GROUP; lane++)
        found[lane] = (int32_t)all[lane];
}

KERNEL(find_avx2, WITH_AVX2, measure_avx2)

/* A group a vector: its words meet the four planes' one after the other. */
WITH_AVX512 INLINED void measure_avx512(const struct planes *query, const uint64_t *words, int32_t *found)
{
    const __m512i zero = _mm512_setzero_si512();
    __m512i sums[PLANES] = {zero, zero, zero, zero};
    const uint64_t *planes = query->bits;
    for (size_t word = 0; word < query->words; word++, words += GROUP)
        for (int plane = 0; plane < PLANES; plane++, planes++) {
            __m512i bits = _mm512_xor_si512(_mm512_load_si512(words), _mm512_set1_epi64((long long)*planes));
            sums[plane] = _mm512_add_epi64(sums[plane], _mm512_popcnt_epi64(bits));
        }
    __m512i high = _mm512_add_epi64(sums[2], _mm512_slli_epi64(sums[3], 1));
    __m512i low = _mm512_add_epi64(sums[0], _mm512_slli_epi64(sums[1], 1));
    __m512i all = _mm512_add_epi64(low, _mm512_slli_epi64(high, 2));
    _mm256_storeu_si256((__m256i *)found, _mm512_cvtepi64_epi32(all));
}

KERNEL(find_avx512, WITH_AVX512, measure_avx512)

#elif defined(__aarch64__)

/* Two codes a vector. The bits of a byte in four planes, weighed, are at most 120. */
INLINED void measure_neon(const struct planes *query, const uint64_t *words, int32_t *found)
{
    uint64x2_t sums[GROUP / 2] = {vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0), vdupq_n_u64(0)};
    for (size_t word = 0; word < query->words; word++)
        for (int pair = 0; pair < GROUP / 2; pair++) {
            uint64x2_t codes = vld1q_u64(words + word * GROUP + 2 * pair);
            uint8x16_t bits = vdupq_n_u8(0);
            for (int plane = PLANES - 1; plane >= 0; plane--) {
                uint64x2_t differ = veorq_u64(codes, vdupq_n_u64(query->bits[word * PLANES + (size_t)plane]));
                bits = vaddq_u8(vaddq_u8(bits, bits), vcntq_u8(vreinterpretq_u8_u64(differ)));
            }
            sums[pair] = vpadalq_u32(sums[pair], vpaddlq_u16(vpaddlq_u8(bits)));
        }
    for (int lane = 0; lane < GROUP; lane++)
        found[lane] = (int32_t)sums[lane / 2][lane % 2];
}

KERNEL(find_neon, , measure_neon)

#endif

kernel *kernel_chosen(void)
{
    const struct {
        const char *name;
        bool is_here;
        kernel *find;
    } kernels[] = {
#if defined(__x86_64__)
        {"avx512", __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vl"), find_avx512},
        {"avx2", __builtin_cpu_supports("avx2"), find_avx2},
#elif defined(__aarch64__)
        {"neon", true, find_neon},
#endif
        {"plain", true, find_plain},
    };
    const char *wanted = getenv("SQLRAG_KERNEL");
    kernel *fastest = NULL;
    for (size_t place = sizeof kernels / sizeof *kernels; place-- > 0;) {
        if (kernels[place].is_here && wanted && !strcmp(wanted, kernels[place].name))
            return kernels[place].find;
        if (kernels[place].is_here)
            fastest = kernels[place].find;
    }
    return fastest;
}
