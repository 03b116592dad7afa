#include "distances.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Sums run side by side in lanes: on any processor the same ones, and the same result. */
typedef float lanes __attribute__((vector_size(16)));
enum { LANES = 4, STREAMS = 8, STEP = LANES * STREAMS };

static inline lanes lanes_at(const float *numbers)
{
    lanes loaded;
    memcpy(&loaded, numbers, sizeof loaded);
    return loaded;
}

static double float32_l2(const void *query, const void *vector, size_t dimension)
{
    const float *a = query, *b = vector;
    lanes sums[STREAMS] = {{0}};
    float sum = 0;
    size_t place = 0;
    for (; place + STEP <= dimension; place += STEP)
        for (size_t stream = 0; stream < STREAMS; stream++) {
            size_t at = place + LANES * stream;
            lanes difference = lanes_at(a + at) - lanes_at(b + at);
            sums[stream] += difference * difference;
        }
    for (; place < dimension; place++)
        sum += (a[place] - b[place]) * (a[place] - b[place]);
    for (int half = STREAMS / 2; half; half /= 2)
        for (int stream = 0; stream < half; stream++)
            sums[stream] += sums[stream + half];
    return sqrtf(sum + ((sums[0][0] + sums[0][1]) + (sums[0][2] + sums[0][3])));
}

static double int8_l2(const void *query, const void *vector, size_t dimension)
{
    const int8_t *a = query, *b = vector;
    uint32_t sum = 0;
    for (size_t place = 0; place < dimension; place++) {
        int difference = a[place] - b[place];
        sum += (uint32_t)(difference * difference);
    }
    return sqrtf((float)sum);
}

const struct metric *metric_named(const char *name)
{
    static const struct metric metrics[] = {{"float32 L2", sizeof(float), float32_l2}, {"int8 L2", 1, int8_l2}};
    for (size_t place = 0; place < sizeof metrics / sizeof *metrics; place++)
        if (!strcmp(metrics[place].name, name))
            return &metrics[place];
    return NULL;
}
