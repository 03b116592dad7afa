/* Prints what the extension believes of SQLite's interface; with REAL_HEADERS, what sqlite3ext.h says.

   `make check` compares the two. With the real headers the compiler also checks each routine's type. */

#include <stddef.h>
#include <stdio.h>

#ifdef REAL_HEADERS
#include <sqlite3ext.h>
#define ROUTINE(result, name, position, arguments)                                                            \
    _Static_assert(__builtin_types_compatible_p(__typeof__(((sqlite3_api_routines *)0)->name),                \
                                                result(*) arguments),                                         \
                   #name " has another type");
#include "sqlite_routines.h"
#undef ROUTINE
#define POSITION(name, position) (offsetof(sqlite3_api_routines, name) / sizeof(void (*)(void)))
#else
#include "sqlite_api.h"
#define POSITION(name, position) ((size_t)(position))
#endif

#define NUMBER(name) printf("%s = %d\n", #name, (int)name);
#define FIELD(structure, name) printf("%s.%s at %zu\n", #structure, #name, offsetof(struct structure, name));
#define SIZE(structure) printf("%s has %zu bytes\n", #structure, sizeof(struct structure));

static void routines(void)
{
#define ROUTINE(result, name, position, arguments) printf("%s: %zu\n", #name, POSITION(name, position));
#include "sqlite_routines.h"
#undef ROUTINE
}

static void numbers(void)
{
    NUMBER(SQLITE_OK) NUMBER(SQLITE_ERROR) NUMBER(SQLITE_NOMEM) NUMBER(SQLITE_INTERRUPT) NUMBER(SQLITE_TOOBIG)
    NUMBER(SQLITE_CONSTRAINT) NUMBER(SQLITE_AUTH) NUMBER(SQLITE_CORRUPT_VTAB) NUMBER(SQLITE_ROW) NUMBER(SQLITE_DONE)
    NUMBER(SQLITE_INTEGER) NUMBER(SQLITE_FLOAT) NUMBER(SQLITE_TEXT) NUMBER(SQLITE_BLOB) NUMBER(SQLITE_NULL)
    NUMBER(SQLITE_UTF8) NUMBER(SQLITE_INDEX_CONSTRAINT_EQ)
    printf("%zu %zu\n", (size_t)SQLITE_STATIC, (size_t)SQLITE_TRANSIENT);
}

static void structures(void)
{
    SIZE(sqlite3_vtab) FIELD(sqlite3_vtab, pModule) FIELD(sqlite3_vtab, nRef) FIELD(sqlite3_vtab, zErrMsg)
    SIZE(sqlite3_vtab_cursor) FIELD(sqlite3_vtab_cursor, pVtab)
    FIELD(sqlite3_index_info, nConstraint) FIELD(sqlite3_index_info, aConstraint)
    FIELD(sqlite3_index_info, aConstraintUsage) FIELD(sqlite3_index_info, idxNum)
    FIELD(sqlite3_index_info, estimatedCost) FIELD(sqlite3_index_info, estimatedRows)
    FIELD(sqlite3_index_info, colUsed)
    printf("a constraint has %zu bytes, its usage %zu\n", sizeof *((struct sqlite3_index_info *)0)->aConstraint,
           sizeof *((struct sqlite3_index_info *)0)->aConstraintUsage);
    FIELD(sqlite3_index_constraint, iColumn) FIELD(sqlite3_index_constraint, op)
    FIELD(sqlite3_index_constraint, usable)
    FIELD(sqlite3_index_constraint_usage, argvIndex) FIELD(sqlite3_index_constraint_usage, omit)
    FIELD(sqlite3_module, iVersion) FIELD(sqlite3_module, xCreate) FIELD(sqlite3_module, xConnect)
    FIELD(sqlite3_module, xBestIndex) FIELD(sqlite3_module, xDisconnect) FIELD(sqlite3_module, xDestroy)
    FIELD(sqlite3_module, xOpen) FIELD(sqlite3_module, xClose) FIELD(sqlite3_module, xFilter)
    FIELD(sqlite3_module, xNext) FIELD(sqlite3_module, xEof) FIELD(sqlite3_module, xColumn)
    FIELD(sqlite3_module, xRowid) FIELD(sqlite3_module, xUpdate) FIELD(sqlite3_module, xRename)
}

int main(void)
{
    routines();
    numbers();
    structures();
    return 0;
}
