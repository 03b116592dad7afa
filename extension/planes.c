#include "kernels.h"

#include <math.h>
#include <stdlib.h>

enum { WORD = 64, MIDDLE = (LARGEST + 1) / 2, ROUNDS = 4 };

/* Steele, Lea, Flood 2014, https://doi.org/10.1145/2714064.2660195: the number after `state` of a generator. */
static uint64_t splitmix64(uint64_t state)
{
    uint64_t mixed = (state + 1) * 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return mixed ^ mixed >> 31;
}

/* The Walsh-Hadamard transform of `count` numbers, a power of two, without the division by the square root of that. */
static void transform(float *vector, size_t count)
{
    for (size_t half = 1; half < count; half *= 2)
        for (size_t begin = 0; begin < count; begin += 2 * half)
            for (size_t place = begin; place < begin + half; place++) {
                float one = vector[place], other = vector[place + half];
                vector[place] = one + other;
                vector[place + half] = one - other;
            }
}

/* Spreads what a vector says evenly over its numbers; it becomes longer, the same factor for all of a dimension.

   Four times, some signs are flipped and a transform adds and subtracts, in float32 and in a fixed order, so that numpy
   (sqlrag/store/codes/quantization.py) finds the same bits: nothing may be contracted to a fused multiplication and
   addition (-ffp-contract=off). */
static void rotate(float *vector, size_t dimension, size_t words)
{
    size_t count = 1;
    while (2 * count <= dimension)
        count *= 2;
    float longer = sqrtf((float)count); /* what the transform makes its numbers */
    for (uint64_t round = 0; round < ROUNDS; round++) {
        size_t begin = round % 2 ? dimension - count : 0;
        for (size_t place = 0; place < dimension; place++) {
            if (splitmix64(round * words + place / WORD) >> place % WORD & 1)
                vector[place] = -vector[place];
            if (place < begin || place >= begin + count)
                vector[place] *= longer;
        }
        transform(vector + begin, count);
    }
}

/* A rotated number as one from 0 to 15. Infinite ones and what is no number come of numbers near the largest float. */
static unsigned level(float number, float scale)
{
    float floor = floorf(number * scale);
    if (!(floor >= -MIDDLE))
        return 0;
    return floor > LARGEST - MIDDLE ? LARGEST : (unsigned)((int)floor + MIDDLE);
}

bool planes_make(struct planes *planes, float *vector, size_t dimension)
{
    *planes = (struct planes){.dimension = dimension, .words = (dimension + WORD - 1) / WORD};
    planes->bits = calloc(planes->words * PLANES, sizeof *planes->bits);
    if (!planes->bits)
        return false;
    rotate(vector, dimension, planes->words);
    float most = 0;
    for (size_t place = 0; place < dimension; place++)
        if (fabsf(vector[place]) > most)
            most = fabsf(vector[place]);
    float scale = most > 0 ? MIDDLE / most : 0;
    for (size_t place = 0; place < dimension; place++)
        for (unsigned plane = 0, bits = level(vector[place], scale); plane < PLANES; plane++)
            planes->bits[place / WORD * PLANES + plane] |= (uint64_t)(bits >> plane & 1) << place % WORD;
    return true;
}

void planes_free(struct planes *planes) { free(planes->bits); }
