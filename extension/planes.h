/* The query of a pass over codes: 4 bits a dimension, in planes, so that a code's bits meet 64 of them at once.

   RaBitQ, Gao and Long 2024, https://arxiv.org/abs/2405.12497: the code is one bit a dimension, the query four. */

#ifndef SQLRAG_PLANES_H
#define SQLRAG_PLANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLANES = 4, LARGEST = (1 << PLANES) - 1 };

struct planes {
    size_t dimension;
    size_t words;   /* of a code */
    uint64_t *bits; /* word by word, the four planes of each, the lowest first */
};

/* Makes them of a vector of finite numbers, which is rotated in place. False if memory is short. */
bool planes_make(struct planes *planes, float *vector, size_t dimension);
void planes_free(struct planes *planes);

#endif
