#include "source.h"

#include <string.h>

int source_failed(struct source *source, int code)
{
    if (!source->message && code != SQLITE_NOMEM)
        source->message = source->api->mprintf("%s", source->api->errmsg(source->database));
    return code;
}

int source_damaged(struct source *source)
{
    const char *end = strrchr(source->table, '_');
    int length = end ? (int)(end - source->table) : (int)strlen(source->table);
    source->message = source->api->mprintf(
        "the vectors of index '%.*s' are damaged: sqlrag check --repair makes them anew", length, source->table);
    return SQLITE_CORRUPT_VTAB;
}

int source_prepare(struct source *source, const char *format, sqlite3_stmt **statement)
{
    char *sql = source->api->mprintf(format, source->table);
    if (!sql)
        return SQLITE_NOMEM;
    int code = source->api->prepare_v2(source->database, sql, -1, statement, NULL);
    source->api->free(sql);
    return code == SQLITE_OK ? code : source_failed(source, code);
}

int source_finish(struct source *source, sqlite3_stmt *statement, int code)
{
    if (code == SQLITE_DONE)
        code = SQLITE_OK;
    else if (code != SQLITE_OK && code != SQLITE_CORRUPT_VTAB)
        code = source_failed(source, code);
    source->api->finalize(statement);
    return code;
}
