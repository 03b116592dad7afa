/* The searches of an index's tables, at the speed of this processor.

       SELECT id, estimate FROM sqlrag_nearest_codes("table", query, k [, ids])
       SELECT id, distance FROM sqlrag_look_up("table", metric, query, k, ids)
       SELECT sqlrag_ids(id) FROM ...

   sqlrag_nearest_codes() goes through the codes in a table of the main database (codes.h) and gives the k whose vectors
   are probably nearest to the query, a BLOB of float32, by cosine: nearest first, of equal ones the lower id first. The
   estimate grows with the cosine. Where no more than k ids are given, these come without an estimate (NULL), whether or
   not they have a code.

   sqlrag_look_up() compares the vectors of the ids in a vec0 table with the query, and gives the k nearest. metric:
   'float32 L2' or 'int8 L2', what the vectors and the query are and how they are compared. Ids that are not there are
   left out.

   ids: a BLOB of int64, little-endian, in any order, as the aggregate sqlrag_ids() makes it; NULL for all. */

#ifndef SQLRAG_SCAN_H
#define SQLRAG_SCAN_H

#include "sqlite_api.h"

/* Declares all three in a connection, whichever SQLite library that is of. */
int scan_register(sqlite3 *database, const sqlite3_api_routines *routines);

#endif
