/* The table functions, as eponymous virtual tables whose hidden columns are the arguments. */

#ifndef SQLRAG_TABLES_H
#define SQLRAG_TABLES_H

#include "arguments.h"
#include "session.h"

int table_register(struct session *session, const struct table_function *function);

#endif
