/* A table of an index in the main database, and what goes wrong while it is read. */

#ifndef SQLRAG_SOURCE_H
#define SQLRAG_SOURCE_H

#include "sqlite_api.h"

struct source {
    const struct sqlite_routines *api;
    sqlite3 *database;
    const char *table;
    char *message; /* what failed, of SQLite's memory */
};

/* Both return a result code: that of SQLite's last failure, whose words are kept; that of a table in which something
   stands that sqlrag has not written. */
int source_failed(struct source *source, int code);
int source_damaged(struct source *source);

/* Compiles a statement; `%w` in it is the table. */
int source_prepare(struct source *source, const char *format, sqlite3_stmt **statement);

/* Ends a statement; `code` is what its last step returned, or what ended its reading. */
int source_finish(struct source *source, sqlite3_stmt *statement, int code);

#endif
