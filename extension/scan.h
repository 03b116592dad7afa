/* sqlrag_scan: what sqlite-vec's own MATCH finds in a vec0 table, at the speed of this processor.

       SELECT id, distance, measured FROM sqlrag_scan("table", metric, query, k [, cells [, ids]])

   The k vectors nearest to the query, nearest first, of two that are equally far the one with the lower id. "table": a
   vec0 table of the main database with one column of vectors. metric: 'float32 L2', 'int8 L1', 'int8 L2', what the
   vectors and the query are and how they are compared. cells: a JSON array of values of the partition key; ids: of
   rowids; NULL for all. measured: among how many vectors these are the nearest, the same in each row. It keeps nothing
   between two calls. */

#ifndef SQLRAG_SCAN_H
#define SQLRAG_SCAN_H

#include "sqlite_api.h"

/* Declares it in a connection, whichever SQLite library that is of. */
int scan_register(sqlite3 *database, const sqlite3_api_routines *routines);

#endif
