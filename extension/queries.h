/* The queries that the server has: run on the user's own connection, as if the user had. */

#ifndef SQLRAG_QUERIES_H
#define SQLRAG_QUERIES_H

#include "session.h"

/* Runs the query of a QUERY frame and sends its rows, or what failed. */
enum outcome answer_query(struct session *session, struct link *link, struct reader *body, int milliseconds);

#endif
