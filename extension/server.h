/* Where the server listens, and how it is started. */

#ifndef SQLRAG_SERVER_H
#define SQLRAG_SERVER_H

#include "session.h"

enum { SOCKET_PATH = 4096 };

/* Finds the path of the socket; false if its folder is not safe. */
bool server_socket(struct session *session, char path[SOCKET_PATH]);

/* The token that the server asks for where it was started with one; NULL for none. */
const char *server_token(void);

/* Starts `sqlrag serve`, on its own; false if there is no such program. */
bool server_start(struct session *session);

#endif
