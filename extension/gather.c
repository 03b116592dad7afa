#include "gather.h"

#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The ids so far; SQLite gives it filled with zeros. */
struct gathered {
    int64_t *ids;
    size_t count, room;
};

static void step(const struct sqlite_routines *api, sqlite3_context *context, sqlite3_value *value)
{
    int type = api->value_type(value);
    if (type == SQLITE_NULL)
        return;
    if (type != SQLITE_INTEGER) {
        api->result_error(context, "sqlrag_ids(): id is a whole number", -1);
        return;
    }
    struct gathered *all = api->aggregate_context(context, sizeof *all);
    if (all && all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        int64_t *ids = room <= INT_MAX / sizeof *ids ? realloc(all->ids, room * sizeof *ids) : NULL;
        if (ids) {
            all->ids = ids;
            all->room = room;
        }
    }
    if (all && all->count < all->room)
        all->ids[all->count++] = api->value_int64(value);
    else
        api->result_error_nomem(context);
}

static void finish(const struct sqlite_routines *api, sqlite3_context *context)
{
    struct gathered *gathered = api->aggregate_context(context, 0);
    if (gathered && gathered->ids)
        api->result_blob(context, gathered->ids, (int)(gathered->count * sizeof *gathered->ids), free);
    else
        api->result_blob(context, "", 0, SQLITE_STATIC);
}

/* Only the context could tell which SQLite library calls, and only through this library's own routines: so each library
   in the process has functions of its own. */
enum { LIBRARIES = 4 };

static struct {
    const sqlite3_api_routines *table;
    struct sqlite_routines api;
} libraries[LIBRARIES];

#define LIBRARY(number)                                                                                                \
    static void step##number(sqlite3_context *context, int count, sqlite3_value **values)                              \
    {                                                                                                                  \
        (void)count;                                                                                                   \
        step(&libraries[number].api, context, values[0]);                                                              \
    }                                                                                                                  \
    static void finish##number(sqlite3_context *context) { finish(&libraries[number].api, context); }

LIBRARY(0) LIBRARY(1) LIBRARY(2) LIBRARY(3)

static const struct {
    void (*step)(sqlite3_context *, int, sqlite3_value **);
    void (*finish)(sqlite3_context *);
} FUNCTIONS[LIBRARIES] = {{step0, finish0}, {step1, finish1}, {step2, finish2}, {step3, finish3}};

/* The number of a library, from 0; LIBRARIES if there are too many. */
static int number_of(const sqlite3_api_routines *table)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct sqlite_routines api;
    int number = 0;
    take_routines(&api, table);
    pthread_mutex_lock(&lock);
    while (number < LIBRARIES && libraries[number].table && libraries[number].table != table)
        number++;
    /* Where a library was unloaded, another one may lie now. */
    if (number < LIBRARIES && memcmp(&libraries[number].api, &api, sizeof api)) {
        libraries[number].table = table;
        libraries[number].api = api;
    }
    pthread_mutex_unlock(&lock);
    return number;
}

int gather_register(sqlite3 *database, const sqlite3_api_routines *routines)
{
    int number = number_of(routines);
    if (number == LIBRARIES)
        return SQLITE_ERROR;
    return libraries[number].api.create_function_v2(database, "sqlrag_ids", 1, SQLITE_UTF8, NULL, NULL,
                                                    FUNCTIONS[number].step, FUNCTIONS[number].finish, NULL);
}
