/* The inner loop of a pass over codes, for the instructions that processors have.

   Codes lie in groups of eight: the first words of all eight, then the second ones. */

#ifndef SQLRAG_KERNELS_H
#define SQLRAG_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GROUP = 8, PLANES = 4, LARGEST = (1 << PLANES) - 1 };

/* A query: 4 bits a dimension, in planes, so that a code's bits meet 64 of them at once. RaBitQ, Gao and Long 2024,
   https://arxiv.org/abs/2405.12497. */
struct planes {
    size_t dimension;
    size_t words;   /* of a code */
    uint64_t *bits; /* word by word, the four planes of each, the lowest first */
};

/* Makes them of a vector of finite numbers, which is rotated in place. False if memory is short. */
bool planes_make(struct planes *planes, float *vector, size_t dimension);
void planes_free(struct planes *planes);

/* Groups of codes, one behind the other. */
struct run {
    const uint64_t *words;
    const float *factors;
    const uint16_t *groups; /* the places of those to look at; NULL: all */
    size_t count;           /* of groups to look at */
};

/* Goes on from one of the groups to look at to the first that has an estimate which is not below the bound (what is no
   number is not, either), and returns which it is; the count where there is none. */
typedef size_t kernel(const struct planes *query, const struct run *run, size_t next, float bound, float *estimates);

/* The fastest one that this processor has, or that the environment's SQLRAG_KERNEL names if the processor has it. They
   all find the same, bit for bit. */
kernel *kernel_chosen(void);

#endif
