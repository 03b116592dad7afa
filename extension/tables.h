/* The table functions, as eponymous virtual tables whose hidden columns are the arguments. */

#ifndef SQLRAG_TABLES_H
#define SQLRAG_TABLES_H

#include "session.h"

enum { MOST_PARAMETERS = 8 };

struct table_function {
    const char *name;
    int columns;
    int required; /* parameters; the others have defaults, for which NULL stands too */
    int parameters;
    const char *parameter[MOST_PARAMETERS];
    const char *declaration;
};

int table_register(struct session *session, const struct table_function *function);

#endif
