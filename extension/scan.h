/* What sqlite-vec's own MATCH finds in a vec0 table, at the speed of this processor.

       SELECT id, distance, measured FROM sqlrag_scan("table", metric, query, k [, ids [, cells]])
       SELECT id, distance, measured FROM sqlrag_look_up("table", metric, query, k, ids)

   The k vectors nearest to the query, nearest first. "table": a vec0 table of the main database with one column of
   vectors. metric: 'float32 L2', 'int8 L1' or 'int8 L2', what the vectors and the query are and how they are compared.
   ids: a JSON array of rowids, NULL for all; cells: one of values of the partition key. sqlrag_look_up() looks each id
   up by itself, where sqlrag_scan() goes through all vectors, of those cells. measured: among how many vectors these are
   the nearest, the same in each row.

   Which of equally far ones come is written in shadow.h. Nothing is kept between two calls. */

#ifndef SQLRAG_SCAN_H
#define SQLRAG_SCAN_H

#include "sqlite_api.h"

/* Declares both in a connection, whichever SQLite library that is of. */
int scan_register(sqlite3 *database, const sqlite3_api_routines *routines);

#endif
