/* The aggregate sqlrag_ids(id): a BLOB of int64, little-endian, in the order in which they come; NULLs are left out. */

#ifndef SQLRAG_GATHER_H
#define SQLRAG_GATHER_H

#include "sqlite_api.h"

/* Declares it in a connection, whichever SQLite library that is of. */
int gather_register(sqlite3 *database, const sqlite3_api_routines *routines);

#endif
