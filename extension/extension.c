/* The entry point: `.load sqlrag_extension`, `SELECT load_extension(…)`. It declares the functions and no more: the
   server that answers them is asked, and started, at the first call. */

#include "scalars.h"
#include "tables.h"
#include "vec.h"

#include "functions.h"

enum { OLDEST = 3040000 };

struct sqlite_routines sqlite;

/* SQLite's table of routines, by position. */
union table {
    const sqlite3_api_routines *routines;
    void (*const *at)(void);
};

static void take_routines(union table table)
{
#define ROUTINE(result, name, position, arguments) sqlite.name = (result(*) arguments)table.at[position];
#include "sqlite_routines.h"
#undef ROUTINE
}

static int declare(struct session *session)
{
    int code = SQLITE_OK;
    for (size_t place = 0; place < sizeof SCALARS / sizeof *SCALARS && code == SQLITE_OK; place++)
        code = scalar_register(session, &SCALARS[place]);
    for (size_t place = 0; place < sizeof TABLES / sizeof *TABLES && code == SQLITE_OK; place++)
        code = table_register(session, &TABLES[place]);
    return code;
}

/* https://www.sqlite.org/loadext.html#programming_loadable_extensions */
__attribute__((visibility("default"))) int sqlite3_extension_init(sqlite3 *database, char **error,
                                                                  const sqlite3_api_routines *routines)
{
    static const sqlite3_api_routines *known;
    union table table = {.routines = routines};
    struct sqlite_routines old = sqlite;
    if (known && known != routines) {
        /* APSW and the standard library's sqlite3 each bring one: what one of them made, the other must not free. */
        take_routines(table);
        *error = sqlite.mprintf("sqlrag's extension is loaded into another SQLite library of this process already");
        sqlite = old;
        return SQLITE_ERROR;
    }
    take_routines(table);
    known = routines;
    if (sqlite.libversion_number() < OLDEST) {
        *error = sqlite.mprintf("sqlrag's extension needs SQLite 3.40 or newer: this is %d.%d",
                                sqlite.libversion_number() / 1000000, sqlite.libversion_number() / 1000 % 1000);
        return SQLITE_ERROR;
    }
    vec_use(routines);
    struct session *session = session_new(database);
    if (!session)
        return SQLITE_NOMEM;
    int code = declare(session);
    if (code == SQLITE_OK)
        vec_load_beside(session);
    session_release(session);
    return code;
}
