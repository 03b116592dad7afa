/* The tables in which sqlite-vec keeps the vectors of a vec0 table, read as they lie.

   Their layout, of sqlite-vec 0.1 (its ARCHITECTURE.md): `<table>_chunks` has a row for each block of vectors, with a
   bit (`validity`, the lowest first) and an id of 8 bytes (`rowids`) for each place, and the cell (`partition00`) where
   the table has cells. `<table>_vector_chunks00` has the vectors of the same places, `<table>_rowids` the block and
   the place of each id. A file may come from a stranger: every length is checked. */

#ifndef SQLRAG_SHADOW_H
#define SQLRAG_SHADOW_H

#include <stdbool.h>
#include <stddef.h>

#include "distances.h"
#include "ids.h"
#include "nearest.h"
#include "sqlite_api.h"

struct shadow {
    const struct sqlite_routines *api;
    sqlite3 *database;
    const char *table;
    const struct metric *metric;
    const void *query;
    size_t size; /* bytes of a vector */
    sqlite3_blob *blob; /* the block that is open, its number, and where its pages begin */
    sqlite3_int64 block;
    size_t page, first_page;
    bool is_direct; /* what spans several pages is read past SQLite's cache */
    unsigned char *vectors; /* those that were read last; at most `most` */
    double *distances;
    size_t most;
    char *message; /* what failed, of SQLite's memory */
};

/* Takes in all vectors, or those in the cells of a JSON array; with `ids`, only these. A result code.

   Of those that are equally far it takes the ones with the lower ids, where MATCH takes any. */
int shadow_scan(struct shadow *shadow, const char *cells, const struct ids *ids, struct nearest *nearest);

/* Takes in the vectors of the ids of a JSON array, each looked up by itself; of those that are equally far the ones with
   the lower ids. */
int shadow_look_up(struct shadow *shadow, const char *ids, struct nearest *nearest);

void shadow_close(struct shadow *shadow);

#endif
