#include "scan.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "codes.h"
#include "gather.h"
#include "shadow.h"

enum { ID, NUMBER, COLUMNS };
enum { TABLE, METRIC, QUERY, K, IDS, PARAMETERS }; /* nearest_codes has no metric */

static const struct table_function NEAREST_CODES = {
    "sqlrag_nearest_codes",
    COLUMNS,
    3,
    4,
    {"table", "query", "k", "ids"},
    "CREATE TABLE x(\"id\", \"estimate\", \"table\" HIDDEN, \"query\" HIDDEN, \"k\" HIDDEN, \"ids\" HIDDEN)",
};
static const struct table_function LOOK_UP = {
    "sqlrag_look_up",
    COLUMNS,
    PARAMETERS,
    PARAMETERS,
    {"table", "metric", "query", "k", "ids"},
    "CREATE TABLE x(\"id\", \"distance\", \"table\" HIDDEN, \"metric\" HIDDEN, \"query\" HIDDEN, \"k\" HIDDEN, "
    "\"ids\" HIDDEN)",
};

/* One of the two in one connection. Two SQLite libraries may be in the process: each has its own routines. */
struct module {
    struct sqlite_routines api;
    sqlite3 *database;
    const struct table_function *function;
    kernel *kernel;
    struct shelf **shelves; /* those that this connection has asked for */
    size_t shelf_count;
};

struct table {
    sqlite3_vtab base;
    struct module *module;
};

struct cursor {
    sqlite3_vtab_cursor base;
    struct nearest found;
    bool is_listed; /* nothing was compared */
    size_t row;
};

static int connect(sqlite3 *database, void *with, int count, const char *const *words, sqlite3_vtab **made,
                   char **message)
{
    struct module *module = with;
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

/* What a call was given. */
struct arguments {
    const char *table;
    const struct metric *metric;
    void *query; /* a copy, where numbers may lie */
    size_t size;
    sqlite3_int64 k;
    bool has_ids;
    struct ids ids;
};

static void arguments_free(struct arguments *given)
{
    free(given->query);
    ids_free(&given->ids);
}

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
    return api->value_type(value) == SQLITE_TEXT ? (const char *)api->value_text(value) : NULL;
}

static const char *take_ids(const struct sqlite_routines *api, sqlite3_value *value, bool may_lack,
                            struct arguments *given, bool *is_short)
{
    if (may_lack && (!value || api->value_type(value) == SQLITE_NULL))
        return NULL;
    int length = api->value_type(value) == SQLITE_BLOB ? api->value_bytes(value) : 1;
    if (length % sizeof(int64_t))
        return "ids is a BLOB of whole numbers, 8 bytes each: sqlrag_ids() makes it";
    *is_short = !ids_read(&given->ids, api->value_blob(value), (size_t)length);
    given->has_ids = true;
    return NULL;
}

/* Checks the arguments and takes them; otherwise says what is wrong, or that memory is short. */
static const char *take(const struct sqlite_routines *api, sqlite3_value *values[PARAMETERS], bool is_look_up,
                        struct arguments *given, bool *is_short)
{
    const char *metric = is_look_up ? text_of(api, values[METRIC]) : "float32 L2";
    given->table = text_of(api, values[TABLE]);
    given->metric = metric ? metric_named(metric) : NULL;
    if (!given->table)
        return is_look_up ? "table is the name of a vec0 table, such as 'chunks_vec'"
                          : "table is the name of a table of codes, such as 'chunks_codes'";
    if (!given->metric)
        return "metric is 'float32 L2' or 'int8 L2'";
    int length = api->value_type(values[QUERY]) == SQLITE_BLOB ? api->value_bytes(values[QUERY]) : 0;
    given->size = (size_t)length;
    if (!length || given->size % given->metric->width || given->size / given->metric->width > MOST_DIMENSIONS)
        return is_look_up ? "query is a BLOB of the metric's numbers, 65536 at most"
                          : "query is a BLOB of float32 numbers, 65536 at most";
    if (api->value_type(values[K]) != SQLITE_INTEGER || (given->k = api->value_int64(values[K])) < 0)
        return "k is a whole number from 0";
    given->query = malloc(given->size);
    *is_short = !given->query;
    if (*is_short)
        return NULL;
    memcpy(given->query, api->value_blob(values[QUERY]), given->size);
    if (has_no_number(given))
        return "query has something in it that is no number";
    return take_ids(api, values[IDS], !is_look_up, given, is_short);
}

/* Opens the shelf of a table for as long as this connection is open; NULL if memory is short. A database without a file
   has one for the connection. */
static struct shelf *shelf_of(struct module *module, const char *table)
{
    const char *name = module->api.db_filename(module->database, "main");
    char *key = module->api.mprintf("%s/%p/%s", name, name && *name ? NULL : module->database, table);
    struct shelf **shelves = realloc(module->shelves, (module->shelf_count + 1) * sizeof(*shelves)), *shelf = NULL;
    if (shelves)
        module->shelves = shelves;
    for (size_t place = 0; key && !shelf && place < module->shelf_count; place++)
        if (shelf_is_of(module->shelves[place], key))
            shelf = module->shelves[place];
    if (key && shelves && !shelf && (shelf = shelf_open(key)))
        shelves[module->shelf_count++] = shelf;
    module->api.free(key);
    return shelf;
}

/* So few ids that all are candidates. */
static int list(const struct ids *ids, struct nearest *found)
{
    for (size_t place = 0; place < ids->count; place++)
        if (!nearest_take(found, 0, ids->at[place]))
            return SQLITE_NOMEM;
    return SQLITE_OK;
}

static int search_codes(struct module *module, struct source *source, const struct arguments *given,
                        struct nearest *found)
{
    struct pass pass = {.kernel = module->kernel, .ids = given->has_ids ? &given->ids : NULL};
    struct shelf *shelf = shelf_of(module, given->table);
    bool is_made = shelf && planes_make(&pass.planes, given->query, given->size / sizeof(float));
    int code = is_made ? codes_search(source, shelf, &pass, found) : SQLITE_NOMEM;
    planes_free(&pass.planes);
    return code;
}

static int run(struct module *module, struct source *source, const struct arguments *given, struct cursor *cursor)
{
    if (!given->k)
        return SQLITE_OK;
    if (module->function == &LOOK_UP)
        return shadow_look_up(source, given->metric, given->query, given->size, &given->ids, &cursor->found);
    cursor->is_listed = given->has_ids && given->ids.count <= (uint64_t)given->k;
    return cursor->is_listed ? list(&given->ids, &cursor->found) : search_codes(module, source, given, &cursor->found);
}

static int filter(sqlite3_vtab_cursor *base, int which, const char *name, int count, sqlite3_value **values)
{
    struct cursor *cursor = (struct cursor *)base;
    struct module *module = ((struct table *)base->pVtab)->module;
    const struct table_function *function = module->function;
    bool is_look_up = function == &LOOK_UP, is_short = false;
    sqlite3_value *placed[PARAMETERS] = {NULL};
    int needed = (1 << function->required) - 1;
    (void)name;
    nearest_free(&cursor->found);
    cursor->row = 0;
    if ((which & needed) != needed)
        return arguments_lack(&module->api, base->pVtab, function, which);
    for (int place = 0, next = 0; place < function->parameters; place++)
        if (which >> place & 1 && next < count)
            placed[is_look_up || !place ? place : place + 1] = values[next++];
    struct arguments given = {0};
    const char *wrong = take(&module->api, placed, is_look_up, &given, &is_short);
    struct source source = {.api = &module->api, .database = module->database, .table = given.table};
    int code = SQLITE_NOMEM;
    if (wrong) {
        source.message = module->api.mprintf("%s(): %s", function->name, wrong);
        code = SQLITE_ERROR;
    } else if (!is_short) {
        cursor->found.wanted = given.k;
        code = run(module, &source, &given, cursor);
        nearest_sort(&cursor->found);
    }
    arguments_free(&given);
    base->pVtab->zErrMsg = source.message;
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
    const struct module *module = ((struct table *)base->pVtab)->module;
    const struct near *row = &cursor->found.at[cursor->row];
    if (place == ID)
        module->api.result_int64(context, row->id);
    else if (place == NUMBER && !cursor->is_listed)
        module->api.result_double(context, module->function == &LOOK_UP ? row->distance : -row->distance);
    else
        module->api.result_null(context);
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
    for (size_t place = 0; place < module->shelf_count; place++)
        shelf_close(module->shelves[place]);
    free(module->shelves);
    free(module);
}

static int declare(sqlite3 *database, const sqlite3_api_routines *routines, const struct table_function *function)
{
    struct module *module = calloc(1, sizeof *module);
    if (!module)
        return SQLITE_NOMEM;
    take_routines(&module->api, routines);
    module->database = database;
    module->function = function;
    module->kernel = kernel_chosen();
    /* SQLite calls destroy() if it refuses, too. */
    return module->api.create_module_v2(database, function->name, &METHODS, module, destroy);
}

int scan_register(sqlite3 *database, const sqlite3_api_routines *routines)
{
    int code = declare(database, routines, &NEAREST_CODES);
    if (code == SQLITE_OK)
        code = declare(database, routines, &LOOK_UP);
    return code == SQLITE_OK ? gather_register(database, routines) : code;
}
