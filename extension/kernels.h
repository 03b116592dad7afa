/* The inner loop of a pass over codes, for the instructions that processors have.

   Codes lie in groups of eight: the first words of all eight, then the second ones. */

#ifndef SQLRAG_KERNELS_H
#define SQLRAG_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "planes.h"

enum { GROUP = 8 };

/* Groups of codes, one behind the other. */
struct run {
    const uint64_t *words;
    const float *factors;
    const uint8_t *wanted; /* a byte for each group, a bit for each code; NULL: all are wanted */
    size_t groups;
};

/* Those codes of a group that may be among the nearest. */
struct hits {
    unsigned lanes; /* a bit for each */
    float estimates[GROUP];
};

struct kernel {
    const char *name;
    /* Goes from a group on to the first one with a wanted code whose estimate is not below the bound (what is no number
       is not, either) and returns its place; the number of groups where none is left. */
    size_t (*find)(const struct planes *query, const struct run *run, size_t group, float bound, struct hits *hits);
};

/* The fastest one that this processor has, or that the environment's SQLRAG_KERNEL names if the processor has it. They
   all find the same, bit for bit. */
const struct kernel *kernel_chosen(void);

#endif
