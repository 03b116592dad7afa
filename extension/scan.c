#include "scan.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "shadow.h"

enum { ID, DISTANCE, MEASURED, COLUMNS };
enum { TABLE, METRIC, QUERY, K, IDS, CELLS, PARAMETERS };

#define DECLARED                                                                                                       \
    "CREATE TABLE x(\"id\", \"distance\", \"measured\", \"table\" HIDDEN, \"metric\" HIDDEN, \"query\" HIDDEN, \"k\" HIDDEN, "  \
    "\"ids\" HIDDEN"

static const struct table_function SCAN = {
    "sqlrag_scan", COLUMNS, IDS, PARAMETERS, {"table", "metric", "query", "k", "ids", "cells"},
    DECLARED ", \"cells\" HIDDEN)",
};
static const struct table_function LOOK_UP = {
    "sqlrag_look_up", COLUMNS, CELLS, CELLS, {"table", "metric", "query", "k", "ids"}, DECLARED ")",
};

/* One of the two in one connection. Two SQLite libraries may be in the process: each has its own routines. */
struct module {
    struct sqlite_routines api;
    sqlite3 *database;
    const struct table_function *function;
};

struct table {
    sqlite3_vtab base;
    const struct module *module;
};

struct cursor {
    sqlite3_vtab_cursor base;
    struct nearest found;
    size_t row;
};

static int connect(sqlite3 *database, void *with, int count, const char *const *words, sqlite3_vtab **made,
                   char **message)
{
    const struct module *module = with;
    (void)count, (void)words, (void)message;
    int code = module->api.declare_vtab(database, module->function->declaration);
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

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **made)
{
    (void)table;
    struct cursor *cursor = calloc(1, sizeof *cursor);
    if (!cursor)
        return SQLITE_NOMEM;
    *made = &cursor->base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *base)
{
    struct cursor *cursor = (struct cursor *)base;
    nearest_free(&cursor->found);
    free(cursor);
    return SQLITE_OK;
}

/* What a call was given; NULL for what it was not. */
struct arguments {
    const struct metric *metric;
    const char *table;
    void *query; /* a copy, where numbers may lie */
    size_t size;
    sqlite3_int64 k;
    const char *cells;
    const char *ids;
    size_t ids_length;
};

static bool has_no_number(const struct arguments *given)
{
    if (given->metric->width != sizeof(float))
        return false;
    for (size_t place = 0; place < given->size / sizeof(float); place++)
        if (!isfinite(((const float *)given->query)[place]))
            return true;
    return false;
}

static const char *text_of(const struct sqlite_routines *api, sqlite3_value *value)
{
    return value && api->value_type(value) == SQLITE_TEXT ? (const char *)api->value_text(value) : NULL;
}

/* Checks the arguments and takes them; otherwise says what is wrong: the caller frees the copy of the query. */
static const char *take(const struct sqlite_routines *api, sqlite3_value *values[PARAMETERS], struct arguments *given)
{
    given->table = text_of(api, values[TABLE]);
    const char *metric = text_of(api, values[METRIC]);
    given->metric = metric ? metric_named(metric) : NULL;
    if (!given->table)
        return "table is the name of a vec0 table, such as 'chunks_vec'";
    if (!given->metric)
        return "metric is 'float32 L2', 'int8 L1' or 'int8 L2'";
    int length = api->value_type(values[QUERY]) == SQLITE_BLOB ? api->value_bytes(values[QUERY]) : 0;
    given->size = (size_t)length;
    if (!length || given->size % given->metric->width || given->size / given->metric->width > MOST_DIMENSIONS)
        return "query is a BLOB of the metric's numbers, 65536 at most";
    if (api->value_type(values[K]) != SQLITE_INTEGER || (given->k = api->value_int64(values[K])) < 0)
        return "k is a whole number from 0";
    for (int place = IDS; place <= CELLS; place++)
        if (values[place] && api->value_type(values[place]) != SQLITE_NULL && !text_of(api, values[place]))
            return "cells and ids are JSON arrays, or NULL";
    given->cells = text_of(api, values[CELLS]);
    given->ids = text_of(api, values[IDS]);
    given->ids_length = given->ids ? (size_t)api->value_bytes(values[IDS]) : 0;
    given->query = malloc(given->size);
    if (!given->query)
        return NULL;
    memcpy(given->query, api->value_blob(values[QUERY]), given->size);
    return has_no_number(given) ? "query has something in it that is no number" : NULL;
}

static int run(struct shadow *shadow, const struct arguments *given, bool is_scan, struct nearest *found)
{
    if (is_scan && !given->ids)
        return shadow_scan(shadow, given->cells, NULL, found);
    struct ids ids = {0};
    int code = SQLITE_NOMEM;
    enum ids_outcome outcome = given->ids ? ids_read(&ids, given->ids, given->ids_length) : IDS_WRONG;
    if (outcome == IDS_WRONG) {
        code = SQLITE_ERROR;
        shadow->message = shadow->api->mprintf("ids is a JSON array of whole numbers");
    } else if (outcome == IDS_GOOD) {
        code = is_scan ? shadow_scan(shadow, given->cells, &ids, found) : shadow_look_up(shadow, given->ids, found);
    }
    ids_free(&ids);
    return code;
}

static int filter(sqlite3_vtab_cursor *base, int which, const char *name, int count, sqlite3_value **values)
{
    struct cursor *cursor = (struct cursor *)base;
    const struct module *module = ((struct table *)base->pVtab)->module;
    sqlite3_value *placed[PARAMETERS] = {NULL};
    const struct table_function *function = module->function;
    int needed = (1 << function->required) - 1;
    (void)name;
    nearest_free(&cursor->found);
    cursor->row = 0;
    if ((which & needed) != needed)
        return arguments_lack(&module->api, base->pVtab, function, which);
    for (int place = 0, next = 0; place < PARAMETERS; place++)
        if (which >> place & 1 && next < count)
            placed[place] = values[next++];
    struct arguments given = {0};
    const char *wrong = take(&module->api, placed, &given);
    if (wrong || !given.query) {
        free(given.query);
        if (!wrong)
            return SQLITE_NOMEM;
        base->pVtab->zErrMsg = module->api.mprintf("%s(): %s", function->name, wrong);
        return SQLITE_ERROR;
    }
    struct shadow shadow = {
        .api = &module->api,
        .database = module->database,
        .table = given.table,
        .metric = given.metric,
        .query = given.query,
        .size = given.size,
    };
    cursor->found.wanted = given.k;
    int code = given.k ? run(&shadow, &given, function == &SCAN, &cursor->found) : SQLITE_OK;
    shadow_close(&shadow);
    free(given.query);
    base->pVtab->zErrMsg = shadow.message;
    nearest_sort(&cursor->found);
    return code;
}

static int next(sqlite3_vtab_cursor *base)
{
    ((struct cursor *)base)->row++;
    return SQLITE_OK;
}

static int at_end(sqlite3_vtab_cursor *base)
{
    const struct cursor *cursor = (struct cursor *)base;
    return cursor->row >= cursor->found.count;
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *context, int place)
{
    const struct cursor *cursor = (struct cursor *)base;
    const struct sqlite_routines *api = &((struct table *)base->pVtab)->module->api;
    if (place == ID)
        api->result_int64(context, cursor->found.at[cursor->row].id);
    else if (place == DISTANCE)
        api->result_double(context, cursor->found.at[cursor->row].distance);
    else if (place == MEASURED)
        api->result_int64(context, (sqlite3_int64)cursor->found.seen);
    else
        api->result_null(context);
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

static int declare(sqlite3 *database, const sqlite3_api_routines *routines, const struct table_function *function)
{
    struct module *module = malloc(sizeof *module);
    if (!module)
        return SQLITE_NOMEM;
    take_routines(&module->api, routines);
    module->database = database;
    module->function = function;
    /* SQLite frees the module if it refuses, too. */
    return module->api.create_module_v2(database, function->name, &METHODS, module, free);
}

int scan_register(sqlite3 *database, const sqlite3_api_routines *routines)
{
    int code = declare(database, routines, &SCAN);
    return code == SQLITE_OK ? declare(database, routines, &LOOK_UP) : code;
}
