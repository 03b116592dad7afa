/* The tables in which sqlite-vec keeps the vectors of a vec0 table, read as they lie.

   Their layout, of sqlite-vec 0.1 (its ARCHITECTURE.md): `<table>_vector_chunks00` has blocks of vectors,
   `<table>_rowids` the block and the place in it of each id. A file may come from a stranger: every length is checked. */

#ifndef SQLRAG_SHADOW_H
#define SQLRAG_SHADOW_H

#include "ids.h"
#include "nearest.h"
#include "source.h"

enum { MOST_DIMENSIONS = 65536 }; /* so many squares of differences of bytes fit into 32 bits */

/* How vectors are compared. */
struct metric {
    const char *name;
    size_t width; /* bytes of a number */
    double (*measure)(const void *query, const void *vector, size_t dimension);
};

/* The metric of a name: 'float32 L2' or 'int8 L2'; NULL if there is none. */
const struct metric *metric_named(const char *name);

/* Takes in the vectors of some ids; leaves out those that are not there. A result code. */
int shadow_look_up(struct source *source, const struct metric *metric, const void *query, size_t size,
                   const struct ids *ids, struct nearest *nearest);

#endif
