/* What all table functions share: each is an eponymous virtual table, its arguments equalities with hidden columns. */

#ifndef SQLRAG_ARGUMENTS_H
#define SQLRAG_ARGUMENTS_H

#include <stddef.h>

#include "sqlite_api.h"

enum { MOST_PARAMETERS = 9 };

struct table_function {
    const char *name;
    int columns;
    int required; /* parameters; the others have defaults, for which NULL stands too */
    int parameters;
    const char *parameter[MOST_PARAMETERS];
    const char *declaration;
};

/* One in a connection; each file's own struct begins with it. */
struct module {
    const struct sqlite_routines *api;
    const struct table_function *function;
};

struct table {
    sqlite3_vtab base;
    struct module *module;
};

/* A call; each file's own struct begins with it. */
struct cursor {
    sqlite3_vtab_cursor base;
    size_t row, rows;
};

/* The methods that all have. xBestIndex gives the arguments in the order of the parameters, and idxNum a bit for each. */
int table_connect(sqlite3 *database, void *with, int count, const char *const *words, sqlite3_vtab **made,
                  char **message);
int table_disconnect(sqlite3_vtab *table);
int table_best_index(sqlite3_vtab *base, sqlite3_index_info *info);
int table_next(sqlite3_vtab_cursor *base);
int table_at_end(sqlite3_vtab_cursor *base);
int table_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *number);

/* Without xCreate it is eponymous only: a function, of which no table can be made. */
#define TABLE_METHODS                                                                                                  \
    .xConnect = table_connect, .xBestIndex = table_best_index, .xDisconnect = table_disconnect, .xNext = table_next,   \
    .xEof = table_at_end, .xRowid = table_rowid

/* Puts the arguments that were given in the places of their parameters; an error if a call lacks one that it needs. */
int table_arguments(sqlite3_vtab *base, int given, int count, sqlite3_value **values,
                    sqlite3_value *placed[MOST_PARAMETERS]);

#endif
