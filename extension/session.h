/* What one SQLite connection has with the server: calls, one inside of another at most, and what failed last. */

#ifndef SQLRAG_SESSION_H
#define SQLRAG_SESSION_H

#include "answer.h"
#include "link.h"
#include "sqlite_api.h"

/* A filter may call our functions, so a query of the server's can be a call again: it has a link of its own. */
enum { LINKS = 2 };

struct session {
    sqlite3 *database;
    int references; /* the functions and modules that SQLite holds */
    int alive;      /* what the statements that run hold: cursors, and marks of functions */
    int depth;
    struct link links[LINKS];
    bool begin_due[LINKS];
    bool vec_is_there;
    char *vec_path; /* where the server has sqlite-vec */
    int code;       /* of the last failure, a result code of SQLite's */
    char message[1024];
};

struct session *session_new(sqlite3 *database);
void session_hold(struct session *session);
void session_release(void *session); /* a destructor for SQLite */

/* Something of a statement begins and ends. The first one of ours is where a new statement begins. */
void session_enter(struct session *session);
void session_leave(struct session *session);

/* Calls a function: `row` has its name and arguments. False: `code` and `message` say what failed. */
bool session_call(struct session *session, const struct bytes *row, struct answer *answer);

/* Returns false, for `return session_fail(…)`. */
bool session_fail(struct session *session, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
