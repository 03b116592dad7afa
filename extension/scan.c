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
struct scanner {
    struct module module;
    struct sqlite_routines api;
    sqlite3 *database;
    kernel *kernel;
    struct shelf **shelves; /* those that this connection has asked for */
    size_t shelf_count;
};

struct search {
    struct cursor cursor;
    struct nearest found;
    bool is_listed; /* nothing was compared */
};

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **made)
{
    (void)table;
    struct search *search = calloc(1, sizeof *search);
    if (!search)
        return SQLITE_NOMEM;
    *made = &search->cursor.base;
    return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *base)
{
    struct search *search = (struct search *)base;
    nearest_free(&search->found);
    free(search);
    return SQLITE_OK;
}

/* What a call was given. */
struct arguments {
    const char *table;
    const struct metric *metric;
    float *query; /* a copy, where numbers may lie, and be rotated */
    size_t size;
    sqlite3_int64 k;
    bool has_ids;
    struct ids ids;
};

static bool has_no_number(const struct arguments *given)
{
    for (size_t place = 0; given->metric->width == sizeof(float) && place < given->size / sizeof(float); place++)
        if (!isfinite(given->query[place]))
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
static const char *take(const struct sqlite_routines *api, sqlite3_value **values, bool is_look_up,
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
static struct shelf *shelf_of(struct scanner *scanner, const char *table)
{
    const char *name = scanner->api.db_filename(scanner->database, "main");
    char *key = scanner->api.mprintf("%s/%p/%s", name, name && *name ? NULL : scanner->database, table);
    struct shelf **shelves = realloc(scanner->shelves, (scanner->shelf_count + 1) * sizeof(*shelves)), *shelf = NULL;
    if (shelves)
        scanner->shelves = shelves;
    for (size_t place = 0; key && !shelf && place < scanner->shelf_count; place++)
        if (shelf_is_of(scanner->shelves[place], key))
            shelf = scanner->shelves[place];
    if (key && shelves && !shelf && (shelf = shelf_open(key)))
        shelves[scanner->shelf_count++] = shelf;
    scanner->api.free(key);
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

static int search_codes(struct scanner *scanner, struct source *source, const struct arguments *given,
                        struct nearest *found)
{
    struct pass pass = {.kernel = scanner->kernel, .ids = given->has_ids ? &given->ids : NULL};
    struct shelf *shelf = shelf_of(scanner, given->table);
    bool is_made = shelf && planes_make(&pass.planes, given->query, given->size / sizeof(float));
    int code = is_made ? codes_search(source, shelf, &pass, found) : SQLITE_NOMEM;
    planes_free(&pass.planes);
    return code;
}

static int run(struct scanner *scanner, struct source *source, const struct arguments *given, struct search *search)
{
    search->found.wanted = given->k;
    if (!given->k)
        return SQLITE_OK;
    if (scanner->module.function == &LOOK_UP)
        return shadow_look_up(source, given->metric, given->query, given->size, &given->ids, &search->found);
    search->is_listed = given->has_ids && given->ids.count <= (uint64_t)given->k;
    return search->is_listed ? list(&given->ids, &search->found) : search_codes(scanner, source, given, &search->found);
}

static int filter(sqlite3_vtab_cursor *base, int which, const char *name, int count, sqlite3_value **values)
{
    struct search *search = (struct search *)base;
    struct scanner *scanner = (struct scanner *)((struct table *)base->pVtab)->module;
    const struct table_function *function = scanner->module.function;
    sqlite3_value *placed[MOST_PARAMETERS + 1] = {NULL};
    bool is_look_up = function == &LOOK_UP, is_short = false;
    (void)name;
    nearest_free(&search->found);
    search->cursor.row = search->cursor.rows = 0;
    int code = table_arguments(base->pVtab, which, count, values, placed + !is_look_up);
    if (code != SQLITE_OK)
        return code;
    if (!is_look_up)
        placed[TABLE] = placed[TABLE + 1];
    struct arguments given = {0};
    const char *wrong = take(&scanner->api, placed, is_look_up, &given, &is_short);
    struct source source = {.api = &scanner->api, .database = scanner->database, .table = given.table};
    code = wrong ? SQLITE_ERROR : SQLITE_NOMEM;
    if (wrong)
        source.message = scanner->api.mprintf("%s(): %s", function->name, wrong);
    else if (!is_short)
        code = run(scanner, &source, &given, search);
    nearest_sort(&search->found);
    search->cursor.rows = search->found.count;
    free(given.query);
    ids_free(&given.ids);
    base->pVtab->zErrMsg = source.message;
    return code;
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *context, int place)
{
    const struct search *search = (struct search *)base;
    const struct module *module = ((struct table *)base->pVtab)->module;
    const struct near *row = &search->found.at[search->cursor.row];
    if (place == ID)
        module->api->result_int64(context, row->id);
    else if (place == NUMBER && !search->is_listed)
        module->api->result_double(context, module->function == &LOOK_UP ? row->distance : -row->distance);
    else
        module->api->result_null(context);
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
    struct scanner *scanner = held;
    for (size_t place = 0; place < scanner->shelf_count; place++)
        shelf_close(scanner->shelves[place]);
    free(scanner->shelves);
    free(scanner);
}

static int declare(sqlite3 *database, const sqlite3_api_routines *routines, const struct table_function *function)
{
    struct scanner *scanner = calloc(1, sizeof *scanner);
    if (!scanner)
        return SQLITE_NOMEM;
    take_routines(&scanner->api, routines);
    scanner->module = (struct module){&scanner->api, function};
    scanner->database = database;
    scanner->kernel = kernel_chosen();
    /* SQLite calls destroy() if it refuses, too. */
    return scanner->api.create_module_v2(database, function->name, &METHODS, scanner, destroy);
}

int scan_register(sqlite3 *database, const sqlite3_api_routines *routines)
{
    int code = declare(database, routines, &NEAREST_CODES);
    if (code == SQLITE_OK)
        code = declare(database, routines, &LOOK_UP);
    return code == SQLITE_OK ? gather_register(database, routines) : code;
}
