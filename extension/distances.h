/* Distances between a query and vectors that lie in a row. */

#ifndef SQLRAG_DISTANCES_H
#define SQLRAG_DISTANCES_H

#include <stddef.h>

/* Numbers of a vector at most; so many squares of differences of bytes fit into 32 bits. */
enum { MOST_DIMENSIONS = 65536 };

struct metric {
    const char *name;
    size_t width; /* bytes of a number */
    /* Of many, side by side: as near to the true ones as distances_slack() says. */
    void (*estimate)(const void *query, const void *vectors, size_t count, size_t dimension, double *distances);
    /* Of one, number by number, as sqlite-vec does where it is compiled without SIMD: the same to the last bit. */
    double (*measure)(const void *query, const void *vector, size_t dimension);
};

/* What an estimate is multiplied with to be no less than what is measured. */
double distances_slack(size_t dimension);

/* The metric of a name: 'float32 L2', 'int8 L1', 'int8 L2'; NULL if there is none. */
const struct metric *metric_named(const char *name);

#endif
