#include "planes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rotation.h"

enum { WORD = 64, MIDDLE = (LARGEST + 1) / 2 };

size_t words_of(size_t dimension) { return (dimension + WORD - 1) / WORD; }

/* A rotated number as one from 0 to 15. Infinite ones and what is no number come of numbers near the largest float. */
static unsigned level(float number, float scale)
{
    float floor = floorf(number * scale);
    if (!(floor >= -MIDDLE))
        return 0;
    return floor > LARGEST - MIDDLE ? LARGEST : (unsigned)((int)floor + MIDDLE);
}

static void quantize(struct planes *planes, const float *vector)
{
    float most = 0;
    for (size_t place = 0; place < planes->dimension; place++)
        if (fabsf(vector[place]) > most)
            most = fabsf(vector[place]);
    float scale = most > 0 ? MIDDLE / most : 0;
    for (size_t place = 0; place < planes->dimension; place++)
        for (unsigned plane = 0, bits = level(vector[place], scale); plane < PLANES; plane++)
            planes->bits[place / WORD * PLANES + plane] |= (uint64_t)(bits >> plane & 1) << place % WORD;
}

bool planes_make(struct planes *planes, const void *vector, size_t dimension)
{
    *planes = (struct planes){.dimension = dimension, .words = words_of(dimension)};
    planes->bits = calloc(planes->words * PLANES, sizeof *planes->bits);
    float *rotated = malloc(dimension * sizeof *rotated);
    if (planes->bits && rotated) {
        memcpy(rotated, vector, dimension * sizeof *rotated);
        rotate(rotated, dimension);
        quantize(planes, rotated);
    }
    bool made = planes->bits && rotated;
    free(rotated);
    return made;
}

void planes_free(struct planes *planes)
{
    free(planes->bits);
    *planes = (struct planes){0};
}
