/* Distances between a query and vectors that lie in a row. */

#ifndef SQLRAG_DISTANCES_H
#define SQLRAG_DISTANCES_H

#include <stddef.h>

/* Numbers of a vector at most; so many squares of differences of bytes fit into 32 bits. */
enum { MOST_DIMENSIONS = 65536 };

struct metric {
    const char *name;
    size_t width; /* bytes of a number */
    void (*measure)(const void *query, const void *vectors, size_t count, size_t dimension, double *distances);
};

/* The metric of a name: 'float32 L2', 'int8 L1', 'int8 L2'; NULL if there is none. */
const struct metric *metric_named(const char *name);

#endif
