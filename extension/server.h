/* Where the server listens, and how it is started. */

#ifndef SQLRAG_SERVER_H
#define SQLRAG_SERVER_H

#include "session.h"

enum { SOCKET_PATH = 4096 };

/* Finds the path of the socket; false if its folder is not safe. */
bool server_socket(struct session *session, char path[SOCKET_PATH]);

/* Starts `sqlrag serve`, on its own; false if there is no such program. */
bool server_start(struct session *session);

#endif
