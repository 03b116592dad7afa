#include "tables.h"

#include <stdlib.h>
#include <string.h>

#include "values.h"

struct remote {
    struct module module;
    struct session *session;
};

struct call {
    struct cursor cursor;
    struct bytes called_with; /* the row of the last call, for the arguments in hidden columns */
    bool is_answered;
    struct answer answer;
};

static struct session *session_of(sqlite3_vtab *table) { return ((struct remote *)((struct table *)table)->module)->session; }

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **made)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call)
        return SQLITE_NOMEM;
    session_enter(session_of(table));
    *made = &call->cursor.base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *base)
{
    struct call *call = (struct call *)base;
    session_leave(session_of(base->pVtab));
    bytes_free(&call->called_with);
    answer_free(&call->answer);
    free(call);
    return SQLITE_OK;
}

static int filter(sqlite3_vtab_cursor *base, int given, const char *name, int count, sqlite3_value **values)
{
    struct call *call = (struct call *)base;
    const struct table_function *function = ((struct table *)base->pVtab)->module->function;
    struct session *session = session_of(base->pVtab);
    sqlite3_value *placed[MOST_PARAMETERS];
    (void)name;
    call->cursor.row = 0;
    int code = table_arguments(base->pVtab, given, count, values, placed);
    if (code != SQLITE_OK)
        return code;
    struct bytes row = {0};
    put_u16(&row, (unsigned)function->parameters + 1);
    put_text(&row, function->name, strlen(function->name));
    for (int place = 0; place < function->parameters; place++) {
        if (placed[place])
            put_argument(&row, placed[place]);
        else
            put_null(&row);
    }
    /* Equal arguments twice in a row are one call: a planner that makes this the inner loop of a join starts it again
       for every outer row. */
    struct bytes *last = &call->called_with;
    if (call->is_answered && !row.failed && row.length == last->length && !memcmp(row.at, last->at, row.length)) {
        bytes_free(&row);
        return SQLITE_OK;
    }
    bytes_free(last);
    *last = row;
    call->is_answered = session_call(session, &row, &call->answer);
    if (call->is_answered && call->answer.rows && call->answer.columns != (unsigned)function->columns)
        call->is_answered =
            session_fail(session, SQLITE_ERROR, "the sqlrag server gives %s() %u columns instead of %d",
                         function->name, call->answer.columns, function->columns);
    call->cursor.rows = call->answer.rows;
    if (call->is_answered)
        return SQLITE_OK;
    answer_free(&call->answer);
    base->pVtab->zErrMsg = sqlite.mprintf("%s", session->message);
    return session->code;
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *context, int place)
{
    const struct call *call = (struct call *)base;
    int parameter = place - ((struct table *)base->pVtab)->module->function->columns;
    if (parameter < 0) {
        give_result(context, answer_value(&call->answer, (uint32_t)call->cursor.row, (unsigned)place));
        return SQLITE_OK;
    }
    struct reader reader = {.at = call->called_with.at, .end = call->called_with.at + call->called_with.length};
    get_u16(&reader);
    get_value(&reader); /* the function's name */
    while (parameter-- > 0)
        get_value(&reader);
    give_result(context, get_value(&reader));
    return SQLITE_OK;
}

static const sqlite3_module METHODS = {
    TABLE_METHODS,
    .xOpen = open_cursor,
    .xClose = close_cursor,
    .xFilter = filter,
    .xColumn = column,
};

static void destroy(void *held)
{
    struct remote *remote = held;
    session_release(remote->session);
    free(remote);
}

int table_register(struct session *session, const struct table_function *function)
{
    struct remote *remote = malloc(sizeof *remote);
    if (!remote)
        return SQLITE_NOMEM;
    session_hold(session);
    *remote = (struct remote){{&sqlite, function}, session};
    /* SQLite calls destroy() if it refuses, too. */
    return sqlite.create_module_v2(session->database, function->name, &METHODS, remote, destroy);
}
