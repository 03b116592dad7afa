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
    const uint8_t *wanted;  /* for each place a bit for each code, where not all are wanted */
    size_t count;           /* of groups to look at */
};

/* Those codes of a group that may be among the nearest. */
struct hits {
    size_t group;   /* its place */
    unsigned lanes; /* a bit for each */
    float estimates[GROUP];
};

struct kernel {
    const char *name;
    /* Goes on from one of the groups to look at to the first with a wanted code whose estimate is not below the bound
       (what is no number is not, either), and returns which it is; the count where there is none. */
    size_t (*find)(const struct planes *query, const struct run *run, size_t next, float bound, struct hits *hits);
};

/* The fastest one that this processor has, or that the environment's SQLRAG_KERNEL names if the processor has it. They
   all find the same, bit for bit. */
const struct kernel *kernel_chosen(void);

#endif
