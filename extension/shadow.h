/* The tables in which sqlite-vec keeps the vectors of a vec0 table, read as they lie.

   Their layout, of sqlite-vec 0.1 (its ARCHITECTURE.md): `<table>_vector_chunks00` has blocks of vectors,
   `<table>_rowids` the block and the place in it of each id. A file may come from a stranger: every length is checked. */

#ifndef SQLRAG_SHADOW_H
#define SQLRAG_SHADOW_H

#include "distances.h"
#include "nearest.h"
#include "source.h"

/* Takes in the vectors of some ids, which are in ascending order; leaves out those that are not there. A result code. */
int shadow_look_up(struct source *source, const struct metric *metric, const void *query, size_t size,
                   const int64_t *ids, size_t count, struct nearest *nearest);

#endif
