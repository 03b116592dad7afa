/* The scalar functions, each one call to the server. */

#ifndef SQLRAG_SCALARS_H
#define SQLRAG_SCALARS_H

#include "session.h"

struct scalar_function {
    const char *name;
    int required; /* arguments */
    int most;
};

int scalar_register(struct session *session, const struct scalar_function *function);

#endif
