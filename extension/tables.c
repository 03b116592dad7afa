#include "tables.h"

#include <stdlib.h>
#include <string.h>

#include "values.h"

/* A table function in one connection. */
struct module {
    struct session *session;
    const struct table_function *function;
};

struct table {
    sqlite3_vtab base;
    const struct module *module;
};

struct cursor {
    sqlite3_vtab_cursor base;
    struct bytes called_with; /* the row of the last call, for the arguments in hidden columns */
    bool is_answered;
    struct answer answer;
    uint32_t row;
};

static int fail(sqlite3_vtab *table, int code, const char *message)
{
    table->zErrMsg = sqlite.mprintf("%s", message);
    return code;
}

static int connect(sqlite3 *database, void *with, int count, const char *const *words, sqlite3_vtab **made,
                   char **message)
{
    const struct module *module = with;
    (void)count, (void)words, (void)message;
    int code = sqlite.declare_vtab(database, module->function->declaration);
    struct table *table = code == SQLITE_OK ? calloc(1, sizeof *table) : NULL;
    if (!table)
        return code == SQLITE_OK ? SQLITE_NOMEM : code;
    table->module = module;
    *made = &table->base;
    return SQLITE_OK;
}

static int disconnect(sqlite3_vtab *table)
{
    free(table);
    return SQLITE_OK;
}

static int best_index(sqlite3_vtab *base, sqlite3_index_info *info)
{
    return arguments_choose(((struct table *)base)->module->function, info);
}

static struct session *session_of(sqlite3_vtab *table) { return ((struct table *)table)->module->session; }

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **made)
{
    struct cursor *cursor = calloc(1, sizeof *cursor);
    if (!cursor)
        return SQLITE_NOMEM;
    session_enter(session_of(table));
    *made = &cursor->base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *base)
{
    struct cursor *cursor = (struct cursor *)base;
    session_leave(session_of(base->pVtab));
    bytes_free(&cursor->called_with);
    answer_free(&cursor->answer);
    free(cursor);
    return SQLITE_OK;
}

static int filter(sqlite3_vtab_cursor *base, int given, const char *name, int count, sqlite3_value **values)
{
    struct cursor *cursor = (struct cursor *)base;
    const struct table_function *function = ((struct table *)base->pVtab)->module->function;
    struct session *session = session_of(base->pVtab);
    int needed = (1 << function->required) - 1;
    (void)name;
    cursor->row = 0;
    if ((given & needed) != needed)
        return arguments_lack(&sqlite, base->pVtab, function, given);
    struct bytes row = {0};
    put_u16(&row, (unsigned)function->parameters + 1);
    put_text(&row, function->name, strlen(function->name));
    for (int place = 0, next = 0; place < function->parameters; place++) {
        if (given >> place & 1 && next < count)
            put_argument(&row, values[next++]);
        else
            put_null(&row);
    }
    /* Equal arguments twice in a row are one call: a planner that makes this the inner loop of a join starts it again
       for every outer row. */
    struct bytes *last = &cursor->called_with;
    if (cursor->is_answered && !row.failed && row.length == last->length && !memcmp(row.at, last->at, row.length)) {
        bytes_free(&row);
        return SQLITE_OK;
    }
    bytes_free(last);
    *last = row;
    cursor->is_answered = session_call(session, &row, &cursor->answer);
    if (cursor->is_answered && cursor->answer.rows && cursor->answer.columns != (unsigned)function->columns)
        cursor->is_answered =
            session_fail(session, SQLITE_ERROR, "the sqlrag server gives %s() %u columns instead of %d",
                         function->name, cursor->answer.columns, function->columns);
    if (cursor->is_answered)
        return SQLITE_OK;
    answer_free(&cursor->answer);
    return fail(base->pVtab, session->code, session->message);
}

static int next(sqlite3_vtab_cursor *base)
{
    ((struct cursor *)base)->row++;
    return SQLITE_OK;
}

static int at_end(sqlite3_vtab_cursor *base)
{
    const struct cursor *cursor = (struct cursor *)base;
    return cursor->row >= cursor->answer.rows;
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *context, int place)
{
    const struct cursor *cursor = (struct cursor *)base;
    int parameter = place - ((struct table *)base->pVtab)->module->function->columns;
    if (parameter < 0) {
        give_result(context, answer_value(&cursor->answer, cursor->row, (unsigned)place));
        return SQLITE_OK;
    }
    struct reader reader = {.at = cursor->called_with.at, .end = cursor->called_with.at + cursor->called_with.length};
    get_u16(&reader);
    get_value(&reader); /* the function's name */
    while (parameter-- > 0)
        get_value(&reader);
    give_result(context, get_value(&reader));
    return SQLITE_OK;
}

static int rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *number)
{
    *number = (sqlite3_int64)((struct cursor *)base)->row + 1;
    return SQLITE_OK;
}

/* Without xCreate it is eponymous only: a function, of which no table can be made. */
static const sqlite3_module METHODS = {
    .xConnect = connect,
    .xBestIndex = best_index,
    .xDisconnect = disconnect,
    .xOpen = open_cursor,
    .xClose = close_cursor,
    .xFilter = filter,
    .xNext = next,
    .xEof = at_end,
    .xColumn = column,
    .xRowid = rowid,
};

static void destroy(void *held)
{
    struct module *module = held;
    session_release(module->session);
    free(module);
}

int table_register(struct session *session, const struct table_function *function)
{
    struct module *module = malloc(sizeof *module);
    if (!module)
        return SQLITE_NOMEM;
    session_hold(session);
    *module = (struct module){.session = session, .function = function};
    /* SQLite calls destroy() if it refuses, too. */
    return sqlite.create_module_v2(session->database, function->name, &METHODS, module, destroy);
}
