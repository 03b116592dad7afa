#include "kernels.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { AHEAD = 8 }; /* groups */

#define INLINED static inline __attribute__((always_inline))

/* What all kernels compute of a code: the distance is the sum over the planes of 2^plane * popcount(code XOR plane), at
   most 15 for each dimension, and grows as the cosine falls. */
typedef int32_t heights[GROUP];

/* The estimates of a group's codes, and which of them are not below the bound. */
INLINED unsigned estimate(const struct planes *query, const int32_t *distances, const float *factors, float bound,
                          float *estimates)
{
    int32_t all = LARGEST * (int32_t)query->dimension;
    unsigned lanes = 0;
    for (unsigned lane = 0; lane < GROUP; lane++) {
        estimates[lane] = (float)(all - 2 * distances[lane]) * factors[lane];
        lanes |= (unsigned)!(estimates[lane] < bound) << lane;
    }
    return lanes;
}

INLINED size_t place_of(const struct run *run, size_t next) { return run->groups ? run->groups[next] : next; }
INLINED unsigned wanted_of(const struct run *run, size_t group) { return run->groups ? run->wanted[group] : 0xFF; }

/* Asks for the words of a group that comes soon: the processor sees no pattern in the places of a few. */
INLINED void prefetch(const struct planes *query, const struct run *run, size_t next)
{
    if (!run->groups || next + AHEAD >= run->count)
        return;
    const uint64_t *words = run->words + run->groups[next + AHEAD] * GROUP * query->words;
    for (size_t word = 0; word < query->words; word++)
        __builtin_prefetch(words + word * GROUP);
}

/* The loop that all share, around what measures one group. */
#define FIND(name, target, measure)                                                                                    \
    target static size_t name(const struct planes *query, const struct run *run, size_t next, float bound,             \
                              struct hits *hits)                                                                       \
    {                                                                                                                  \
        for (; next < run->count; next++) {                                                                            \
            size_t group = hits->group = place_of(run, next);                                                          \
            prefetch(query, run, next);                                                                                \
            heights found;                                                                                             \
            measure(query, run->words + group * GROUP * query->words, found);                                          \
            hits->lanes = estimate(query, found, run->factors + group * GROUP, bound, hits->estimates);                \
            if (hits->lanes &= wanted_of(run, group))                                                                  \
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

FIND(find_plain, , measure_plain)

#if defined(__x86_64__)

#define WITH_POPCNT __attribute__((target("popcnt")))
#define WITH_AVX2 __attribute__((target("avx2")))
#define WITH_AVX512 __attribute__((target("avx2,avx512f,avx512vl,avx512vpopcntdq")))

/* With an instruction that counts a word's bits. */
WITH_POPCNT INLINED void measure_popcnt(const struct planes *query, const uint64_t *words, int32_t *found)
{
    uint64_t sums[GROUP] = {0};
    const uint64_t *planes = query->bits;
    for (size_t word = 0; word < query->words; word++, words += GROUP, planes += PLANES)
        for (int lane = 0; lane < GROUP; lane++) {
            uint64_t sum = 0;
            for (int plane = PLANES - 1; plane >= 0; plane--)
                sum = 2 * sum + (uint64_t)_mm_popcnt_u64(words[lane] ^ planes[plane]);
            sums[lane] += sum;
        }
    for (int lane = 0; lane < GROUP; lane++)
        found[lane] = (int32_t)sums[lane];
}

FIND(find_popcnt, WITH_POPCNT, measure_popcnt)

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

FIND(find_avx2, WITH_AVX2, measure_avx2)

/* A group a vector: its words meet the four planes' one after the other. */
WITH_AVX512 static size_t find_avx512(const struct planes *query, const struct run *run, size_t next, float bound,
                                      struct hits *hits)
{
    const __m256i all = _mm256_set1_epi32(LARGEST * (int)query->dimension);
    const __m256 least = _mm256_set1_ps(bound);
    for (; next < run->count; next++) {
        size_t group = place_of(run, next);
        prefetch(query, run, next);
        const uint64_t *words = run->words + group * GROUP * query->words, *planes = query->bits;
        __m512i sums[PLANES] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                                _mm512_setzero_si512()};
        for (size_t word = 0; word < query->words; word++, words += GROUP)
            for (int plane = 0; plane < PLANES; plane++, planes++) {
                __m512i bits = _mm512_xor_si512(_mm512_load_si512(words), _mm512_set1_epi64((long long)*planes));
                sums[plane] = _mm512_add_epi64(sums[plane], _mm512_popcnt_epi64(bits));
            }
        __m512i high = _mm512_add_epi64(sums[2], _mm512_slli_epi64(sums[3], 1));
        __m512i low = _mm512_add_epi64(sums[0], _mm512_slli_epi64(sums[1], 1));
        __m256i found = _mm512_cvtepi64_epi32(_mm512_add_epi64(low, _mm512_slli_epi64(high, 2)));
        __m256 cosines = _mm256_cvtepi32_ps(_mm256_sub_epi32(all, _mm256_slli_epi32(found, 1)));
        __m256 estimates = _mm256_mul_ps(cosines, _mm256_loadu_ps(run->factors + group * GROUP));
        hits->lanes = wanted_of(run, group) & _mm256_cmp_ps_mask(estimates, least, _CMP_NLT_UQ);
        if (hits->lanes) {
            hits->group = group;
            _mm256_storeu_ps(hits->estimates, estimates);
            break;
        }
    }
    return next;
}

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

FIND(find_neon, , measure_neon)

#endif

/* The fastest first. */
static const struct kernel KERNELS[] = {
#if defined(__x86_64__)
    {"avx512", find_avx512}, {"avx2", find_avx2}, {"popcnt", find_popcnt},
#elif defined(__aarch64__)
    {"neon", find_neon},
#endif
    {"plain", find_plain},
};

enum { COUNT = sizeof KERNELS / sizeof *KERNELS };

const struct kernel *kernel_chosen(void)
{
    const bool is_here[COUNT] = {
#if defined(__x86_64__)
        __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vl"),
        __builtin_cpu_supports("avx2"),
        __builtin_cpu_supports("popcnt"),
#elif defined(__aarch64__)
        true,
#endif
        true,
    };
    const char *wanted = getenv("SQLRAG_KERNEL");
    const struct kernel *fastest = NULL;
    for (size_t place = COUNT; place-- > 0;) {
        if (is_here[place] && wanted && !strcmp(wanted, KERNELS[place].name))
            return &KERNELS[place];
        if (is_here[place])
            fastest = &KERNELS[place];
    }
    return fastest;
}
