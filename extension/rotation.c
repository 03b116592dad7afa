#include "rotation.h"

#include <math.h>
#include <stdint.h>

enum { ROUNDS = 4, WORD = 64 };

/* Steele, Lea, Flood 2014, https://doi.org/10.1145/2714064.2660195: the number after `state` of a generator. */
static uint64_t splitmix64(uint64_t state)
{
    uint64_t mixed = (state + 1) * 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return mixed ^ mixed >> 31;
}

static void flip_signs(float *vector, size_t dimension, uint64_t round)
{
    uint64_t words = (dimension + WORD - 1) / WORD, signs = 0;
    for (size_t place = 0; place < dimension; place++) {
        if (place % WORD == 0)
            signs = splitmix64(round * words + place / WORD);
        if (signs >> place % WORD & 1)
            vector[place] = -vector[place];
    }
}

/* The transform of `count` numbers, a power of two, without the division by the square root of that. */
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

void rotate(float *vector, size_t dimension)
{
    size_t count = 1;
    while (2 * count <= dimension)
        count *= 2;
    float longer = sqrtf((float)count); /* what the transform makes its numbers */
    for (uint64_t round = 0; round < ROUNDS; round++) {
        size_t begin = round % 2 ? dimension - count : 0;
        flip_signs(vector, dimension, round);
        transform(vector + begin, count);
        for (size_t place = 0; place < dimension; place++)
            if (place < begin || place >= begin + count)
                vector[place] *= longer;
    }
}
