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
