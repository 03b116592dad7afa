/* The arguments of a table function: equalities with the hidden columns of an eponymous virtual table. */

#ifndef SQLRAG_ARGUMENTS_H
#define SQLRAG_ARGUMENTS_H

#include "sqlite_api.h"

enum { MOST_PARAMETERS = 8 };

struct table_function {
    const char *name;
    int columns;
    int required; /* parameters; the others have defaults, for which NULL stands too */
    int parameters;
    const char *parameter[MOST_PARAMETERS];
    const char *declaration;
};

/* Chooses the constraints that are arguments, for xBestIndex: in the order of the parameters, idxNum a bit for each. */
int arguments_choose(const struct table_function *function, sqlite3_index_info *info);

/* Says which of them a call lacks; `given` as in idxNum. */
int arguments_lack(const struct sqlite_routines *api, sqlite3_vtab *table, const struct table_function *function,
                   int given);

#endif
