/* sqlite-vec, which the server's queries need: found and registered where it is not there yet. */

#ifndef SQLRAG_VEC_H
#define SQLRAG_VEC_H

#include "session.h"

/* Keeps SQLite's routines for sqlite-vec. */
void vec_use(const sqlite3_api_routines *routines);

/* Registers sqlite-vec if it is installed beside this library. */
void vec_load_beside(struct session *session);

/* Registers it from wherever it is known to be; the error if that cannot be done. */
const char *vec_load(struct session *session);

#endif
