/* Distances between a query and a vector. */

#ifndef SQLRAG_DISTANCES_H
#define SQLRAG_DISTANCES_H

#include <stddef.h>

/* Numbers of a vector at most; so many squares of differences of bytes fit into 32 bits. */
enum { MOST_DIMENSIONS = 65536 };

struct metric {
    const char *name;
    size_t width; /* bytes of a number */
    double (*measure)(const void *query, const void *vector, size_t dimension);
};

/* The metric of a name: 'float32 L2' or 'int8 L2'; NULL if there is none. */
const struct metric *metric_named(const char *name);

#endif
