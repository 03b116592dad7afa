/* SQLite's values on their way to the server, and the server's on their way to SQLite. */

#ifndef SQLRAG_VALUES_H
#define SQLRAG_VALUES_H

#include "bytes.h"
#include "sqlite_api.h"

void put_argument(struct bytes *out, sqlite3_value *value);
void give_result(sqlite3_context *context, struct value value);

#endif
