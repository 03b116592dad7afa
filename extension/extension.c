/* The entry points. `.load sqlrag_extension`, `SELECT load_extension(…)`: it declares the functions and no more; the
   server that answers them is asked, and started, at the first call. `load_extension(…, 'sqlrag_scan_init')`: the
   searches of an index's tables alone, for Python, which has the functions itself. */

#include "scalars.h"
#include "scan.h"
#include "tables.h"
#include "vec.h"

#include "functions.h"

enum { OLDEST = 3040000 };

struct sqlite_routines sqlite;

/* SQLite's table of routines, by position. */
union routines_by_position {
    const sqlite3_api_routines *routines;
    void (*const *at)(void);
};

#ifdef EXACT_BLOBS
/* For the fuzzer: each BLOB of a row in memory of its own. SQLite's lies within a page, whose other bytes a sanitizer
   takes for its own. */
#include <stdlib.h>
#include <string.h>

static struct sqlite_routines whole;

static const void *exact_blob(sqlite3_stmt *row, int column)
{
    static void *kept[64];
    static unsigned next;
    const void *blob = whole.column_blob(row, column);
    int length = whole.column_bytes(row, column);
    void *copy = blob && length > 0 ? malloc((size_t)length) : NULL;
    if (!copy)
        return blob;
    memcpy(copy, blob, (size_t)length);
    free(kept[next % 64]);
    kept[next++ % 64] = copy;
    return copy;
}
#endif

void take_routines(struct sqlite_routines *taken, const sqlite3_api_routines *routines)
{
    union routines_by_position table = {.routines = routines};
#define ROUTINE(result, name, position, arguments) taken->name = (result(*) arguments)table.at[position];
#include "sqlite_routines.h"
#undef ROUTINE
#ifdef EXACT_BLOBS
    whole = *taken;
    taken->column_blob = exact_blob;
#endif
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

static bool is_new_enough(const struct sqlite_routines *taken, char **error)
{
    int version = taken->libversion_number();
    if (version < OLDEST)
        *error = taken->mprintf("sqlrag's extension needs SQLite 3.40 or newer: this is %d.%d", version / 1000000,
                                version / 1000 % 1000);
    return version >= OLDEST;
}

/* https://www.sqlite.org/loadext.html#programming_loadable_extensions */
__attribute__((visibility("default"))) int sqlrag_scan_init(sqlite3 *database, char **error,
                                                            const sqlite3_api_routines *routines)
{
    struct sqlite_routines taken;
    take_routines(&taken, routines);
    return is_new_enough(&taken, error) ? scan_register(database, routines) : SQLITE_ERROR;
}

__attribute__((visibility("default"))) int sqlite3_extension_init(sqlite3 *database, char **error,
                                                                  const sqlite3_api_routines *routines)
{
    static const sqlite3_api_routines *known;
    struct sqlite_routines taken;
    take_routines(&taken, routines);
    if (known && known != routines) {
        /* APSW and the standard library's sqlite3 each bring one: what one of them made, the other must not free. */
        *error = taken.mprintf("sqlrag's extension is loaded into another SQLite library of this process already");
        return SQLITE_ERROR;
    }
    if (!is_new_enough(&taken, error))
        return SQLITE_ERROR;
    sqlite = taken;
    known = routines;
    vec_use(routines);
    struct session *session = session_new(database);
    if (!session)
        return SQLITE_NOMEM;
    int code = declare(session);
    if (code == SQLITE_OK)
        code = scan_register(database, routines);
    if (code == SQLITE_OK)
        vec_load_beside(session);
    session_release(session);
    return code;
}
