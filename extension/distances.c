#include "distances.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINED static inline __attribute__((always_inline))

/* Sums run side by side in lanes. */
typedef float lanes __attribute__((vector_size(32)));
enum { LANES = 8, STREAMS = 4, STEP = LANES * STREAMS };

INLINED void add_squares(lanes *sum, const float *a, const float *b)
{
    lanes of_a, of_b;
    memcpy(&of_a, a, sizeof of_a);
    memcpy(&of_b, b, sizeof of_b);
    lanes difference = of_a - of_b;
    *sum += difference * difference;
}

INLINED double float32_l2_near(const float *query, const float *vector, size_t dimension)
{
    lanes sums[STREAMS] = {{0}};
    float rest = 0;
    size_t place = 0;
    for (; place + STEP <= dimension; place += STEP)
        for (int stream = 0; stream < STREAMS; stream++)
            add_squares(&sums[stream], query + place + LANES * stream, vector + place + LANES * stream);
    for (; place < dimension; place++)
        rest += (query[place] - vector[place]) * (query[place] - vector[place]);
    lanes all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    for (int lane = 0; lane < LANES; lane++)
        rest += all[lane];
    return sqrtf(rest);
}

INLINED double int8_l1_near(const uint8_t *query, const uint8_t *vector, size_t dimension)
{
    uint32_t sum = 0;
    for (size_t place = 0; place < dimension; place++) {
        /* Without a sign, 128 more on both sides: processors have an instruction for that sum. */
        int difference = (uint8_t)(query[place] ^ 128) - (uint8_t)(vector[place] ^ 128);
        sum += (uint32_t)(difference < 0 ? -difference : difference);
    }
    return sum;
}

INLINED double int8_l2_near(const int8_t *query, const int8_t *vector, size_t dimension)
{
    uint32_t sum = 0;
    for (size_t place = 0; place < dimension; place++) {
        int difference = query[place] - vector[place];
        sum += (uint32_t)(difference * difference);
    }
    return sqrtf((float)sum);
}

/* What sqlite-vec computes: its sums are floats, too. */

static double float32_l2(const void *query, const void *vector, size_t dimension)
{
    const float *a = query, *b = vector;
    float sum = 0;
    for (size_t place = 0; place < dimension; place++) {
        float difference = a[place] - b[place];
        sum += difference * difference;
    }
    return sqrtf(sum);
}

static double int8_l1(const void *query, const void *vector, size_t dimension)
{
    return int8_l1_near(query, vector, dimension);
}

static double int8_l2(const void *query, const void *vector, size_t dimension)
{
    const int8_t *a = query, *b = vector;
    float sum = 0;
    for (size_t place = 0; place < dimension; place++) {
        float difference = (float)(a[place] - b[place]);
        sum += difference * difference;
    }
    return sqrtf(sum);
}

double distances_slack(size_t dimension) { return 1 + (double)dimension * 0x1p-23; }

/* A metric for any processor of this kind, and for those of x86-64 that have AVX2. */
#define MEASURE(name, type, suffix, target)                                                                            \
    target static void name##suffix(const void *query, const void *vectors, size_t count, size_t dimension,            \
                                    double *distances)                                                                 \
    {                                                                                                                  \
        for (size_t row = 0; row < count; row++)                                                                       \
            distances[row] = name##_near(query, (const type *)vectors + row * dimension, dimension);                     \
    }

#define MEASURES(suffix, target)                                                                                       \
    MEASURE(float32_l2, float, suffix, target)                                                                         \
    MEASURE(int8_l1, uint8_t, suffix, target)                                                                          \
    MEASURE(int8_l2, int8_t, suffix, target)

#define METRICS(suffix)                                                                                                \
    {                                                                                                                  \
        {"float32 L2", sizeof(float), float32_l2##suffix, float32_l2}, {"int8 L1", 1, int8_l1##suffix, int8_l1},       \
            {"int8 L2", 1, int8_l2##suffix, int8_l2},                                                                  \
    }

enum { METRIC_COUNT = 3 };

MEASURES(_plain, )
static const struct metric PLAIN[METRIC_COUNT] = METRICS(_plain);

#if defined(__x86_64__) && defined(__GNUC__)
MEASURES(_avx2, __attribute__((target("avx2"))))
static const struct metric AVX2[METRIC_COUNT] = METRICS(_avx2);
#endif

const struct metric *metric_named(const char *name)
{
    const struct metric *metrics = PLAIN;
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2"))
        metrics = AVX2;
#endif
    for (int place = 0; place < METRIC_COUNT; place++)
        if (!strcmp(metrics[place].name, name))
            return &metrics[place];
    return NULL;
}
