#include "scalars.h"

#include <stdlib.h>
#include <string.h>

#include "values.h"

/* A function in one connection. */
struct scalar {
    struct session *session;
    const struct scalar_function *function;
};

/* Where a statement keeps our mark, until it is reset. SQLite keeps what has a place below zero for all functions of
   the statement, and does so for its own JSON functions; where it would not, each call would begin a statement anew:
   correct, but for the count of scored pairs. */
enum { MARK = -1936877170 };

static void unmark(void *session) { session_leave(session); }

static void mark(sqlite3_context *context, struct session *session)
{
    if (!sqlite.get_auxdata(context, MARK)) {
        session_enter(session);
        sqlite.set_auxdata(context, MARK, session, unmark);
    }
}

static void complain(sqlite3_context *context, const struct session *session)
{
    sqlite.result_error(context, session->message, -1);
    if (session->code != SQLITE_ERROR)
        sqlite.result_error_code(context, session->code);
}

static void run(sqlite3_context *context, int count, sqlite3_value **values)
{
    const struct scalar *scalar = sqlite.user_data(context);
    struct session *session = scalar->session;
    struct bytes row = {0};
    struct answer answer = {0};
    mark(context, session);
    put_u16(&row, (unsigned)count + 1);
    put_text(&row, scalar->function->name, strlen(scalar->function->name));
    for (int place = 0; place < count; place++)
        put_argument(&row, values[place]);
    bool done = session_call(session, &row, &answer);
    bytes_free(&row);
    if (done && (answer.rows != 1 || answer.columns != 1))
        done = session_fail(session, SQLITE_ERROR, "the sqlrag server answered %s() with a table",
                            scalar->function->name);
    if (done)
        give_result(context, answer_value(&answer, 0, 0));
    else
        complain(context, session);
    answer_free(&answer);
}

static void destroy(void *held)
{
    struct scalar *scalar = held;
    session_release(scalar->session);
    free(scalar);
}

int scalar_register(struct session *session, const struct scalar_function *function)
{
    for (int arguments = function->required; arguments <= function->most; arguments++) {
        struct scalar *scalar = malloc(sizeof *scalar);
        if (!scalar)
            return SQLITE_NOMEM;
        session_hold(session);
        *scalar = (struct scalar){.session = session, .function = function};
        /* Not SQLITE_DETERMINISTIC: an index or a generated column would keep what another server, of another model,
           computes otherwise. Not SQLITE_INNOCUOUS: a file from a stranger could have models run through its schema
           where the application trusts no schema. SQLite calls destroy() if it refuses, too. */
        int code = sqlite.create_function_v2(session->database, function->name, arguments, SQLITE_UTF8, scalar, run, NULL,
                                             NULL, destroy);
        if (code != SQLITE_OK)
            return code;
    }
    return SQLITE_OK;
}
