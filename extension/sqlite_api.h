/* What the extension needs to know of SQLite's C interface, and no more.

   sqlite3ext.h is on few machines, and the interface is stable: https://www.sqlite.org/c3ref/intro.html. The
   structures and numbers are those of SQLite 3.40, the oldest that is supported; check_layout.c proves them against
   the real headers. */

#ifndef SQLRAG_SQLITE_API_H
#define SQLRAG_SQLITE_API_H

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_value sqlite3_value;
typedef struct sqlite3_context sqlite3_context;
typedef struct sqlite3_blob sqlite3_blob;
typedef struct sqlite3_api_routines sqlite3_api_routines;
typedef long long int sqlite3_int64;
typedef unsigned long long int sqlite3_uint64;

/* https://www.sqlite.org/rescode.html */
enum {
    SQLITE_OK = 0,
    SQLITE_ERROR = 1,
    SQLITE_NOMEM = 7,
    SQLITE_INTERRUPT = 9,
    SQLITE_TOOBIG = 18,
    SQLITE_CONSTRAINT = 19,
    SQLITE_AUTH = 23,
    SQLITE_CORRUPT_VTAB = 267,
    SQLITE_ROW = 100,
    SQLITE_DONE = 101,
};

/* https://www.sqlite.org/c3ref/c_blob.html, https://www.sqlite.org/c3ref/c_any.html,
   https://www.sqlite.org/c3ref/c_index_constraint_eq.html */
enum {
    SQLITE_INTEGER = 1,
    SQLITE_FLOAT = 2,
    SQLITE_TEXT = 3,
    SQLITE_BLOB = 4,
    SQLITE_NULL = 5,
    SQLITE_UTF8 = 1,
    SQLITE_INDEX_CONSTRAINT_EQ = 2,
};

/* https://www.sqlite.org/c3ref/c_static.html */
#define SQLITE_STATIC ((void (*)(void *))0)
#define SQLITE_TRANSIENT ((void (*)(void *))-1)

typedef struct sqlite3_vtab sqlite3_vtab;
typedef struct sqlite3_vtab_cursor sqlite3_vtab_cursor;
typedef struct sqlite3_module sqlite3_module;
typedef struct sqlite3_index_info sqlite3_index_info;

/* https://www.sqlite.org/c3ref/vtab.html */
struct sqlite3_vtab {
    const sqlite3_module *pModule;
    int nRef;
    char *zErrMsg;
};

/* https://www.sqlite.org/c3ref/vtab_cursor.html */
struct sqlite3_vtab_cursor {
    sqlite3_vtab *pVtab;
};

/* https://www.sqlite.org/c3ref/index_info.html */
struct sqlite3_index_info {
    int nConstraint;
    struct sqlite3_index_constraint {
        int iColumn;
        unsigned char op;
        unsigned char usable;
        int iTermOffset;
    } *aConstraint;
    int nOrderBy;
    struct sqlite3_index_orderby {
        int iColumn;
        unsigned char desc;
    } *aOrderBy;
    struct sqlite3_index_constraint_usage {
        int argvIndex;
        unsigned char omit;
    } *aConstraintUsage;
    int idxNum;
    char *idxStr;
    int needToFreeIdxStr;
    int orderByConsumed;
    double estimatedCost;
    sqlite3_int64 estimatedRows;
    int idxFlags;
    sqlite3_uint64 colUsed;
};

/* https://www.sqlite.org/c3ref/module.html; version 1, which ends with xRename. */
struct sqlite3_module {
    int iVersion;
    int (*xCreate)(sqlite3 *, void *, int, const char *const *, sqlite3_vtab **, char **);
    int (*xConnect)(sqlite3 *, void *, int, const char *const *, sqlite3_vtab **, char **);
    int (*xBestIndex)(sqlite3_vtab *, sqlite3_index_info *);
    int (*xDisconnect)(sqlite3_vtab *);
    int (*xDestroy)(sqlite3_vtab *);
    int (*xOpen)(sqlite3_vtab *, sqlite3_vtab_cursor **);
    int (*xClose)(sqlite3_vtab_cursor *);
    int (*xFilter)(sqlite3_vtab_cursor *, int, const char *, int, sqlite3_value **);
    int (*xNext)(sqlite3_vtab_cursor *);
    int (*xEof)(sqlite3_vtab_cursor *);
    int (*xColumn)(sqlite3_vtab_cursor *, sqlite3_context *, int);
    int (*xRowid)(sqlite3_vtab_cursor *, sqlite3_int64 *);
    int (*xUpdate)(sqlite3_vtab *, int, sqlite3_value **, sqlite3_int64 *);
    int (*xBegin)(sqlite3_vtab *);
    int (*xSync)(sqlite3_vtab *);
    int (*xCommit)(sqlite3_vtab *);
    int (*xRollback)(sqlite3_vtab *);
    int (*xFindFunction)(sqlite3_vtab *, int, const char *, void (**)(sqlite3_context *, int, sqlite3_value **),
                         void **);
    int (*xRename)(sqlite3_vtab *, const char *);
};

/* The routines, called as `sqlite.step(statement)`. One SQLite library in a process fills them (see extension.c); the
   scan keeps those of each connection's own (scan.c). */
struct sqlite_routines {
#define ROUTINE(result, name, position, arguments) result(*name) arguments;
#include "sqlite_routines.h"
#undef ROUTINE
};

extern struct sqlite_routines sqlite;

/* Takes the routines out of SQLite's table. */
void take_routines(struct sqlite_routines *taken, const sqlite3_api_routines *routines);

#endif
