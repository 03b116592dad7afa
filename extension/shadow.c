#include "shadow.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAIN_MEMORY = 1 << 16 }; /* bytes of vectors that are read at once: they stay in the processor's cache */

static int failed(struct shadow *shadow, int code)
{
    if (!shadow->message && code != SQLITE_NOMEM)
        shadow->message = shadow->api->mprintf("%s", shadow->api->errmsg(shadow->database));
    return code;
}

static int damaged(struct shadow *shadow)
{
    const char *end = strrchr(shadow->table, '_');
    int length = end ? (int)(end - shadow->table) : (int)strlen(shadow->table);
    shadow->message = shadow->api->mprintf(
        "the vectors of index '%.*s' are damaged: sqlrag check --repair makes them anew", length, shadow->table);
    return SQLITE_CORRUPT_VTAB;
}

/* Compiles a statement; `%w` in it is the table. */
static int prepare(struct shadow *shadow, const char *format, sqlite3_stmt **statement)
{
    char *sql = shadow->api->mprintf(format, shadow->table);
    if (!sql)
        return SQLITE_NOMEM;
    int code = shadow->api->prepare_v2(shadow->database, sql, -1, statement, NULL);
    shadow->api->free(sql);
    return code == SQLITE_OK ? code : failed(shadow, code);
}

static int finish(struct shadow *shadow, sqlite3_stmt *statement, int code)
{
    if (code == SQLITE_DONE)
        code = SQLITE_OK;
    else if (code != SQLITE_CORRUPT_VTAB)
        code = failed(shadow, code);
    shadow->api->finalize(statement);
    return code;
}

static size_t bytes_of(uint64_t number, unsigned bits)
{
    return number >> bits ? 1 + bytes_of(number >> bits, bits) : 1;
}

/* Where in the BLOB of a block each page of its begins: https://www.sqlite.org/fileformat2.html#b_tree_pages and
   #record_format. A wrong guess costs time, and nothing else. */
static void find_pages(struct shadow *shadow, size_t length)
{
    uint64_t block = (uint64_t)shadow->block;
    size_t usable = shadow->page + 4;
    size_t header = 2 + bytes_of(2 * length + 12, 7) + (block < 2 ? 0 : bytes_of(2 * block, 8));
    size_t payload = length + header, least = (usable - 12) * 32 / 255 - 23;
    size_t local = least + (payload - least) % (usable - 4);
    if (payload <= usable - 35)
        local = payload;
    else if (local > usable - 35)
        local = least;
    shadow->first_page = local > header ? local - header : 0;
}

static int find_page_size(struct shadow *shadow)
{
    sqlite3_stmt *statement = NULL;
    int code = prepare(shadow, "PRAGMA main.page_size", &statement);
    if (code == SQLITE_OK && (code = shadow->api->step(statement)) == SQLITE_ROW) {
        sqlite3_int64 size = shadow->api->column_int64(statement, 0);
        shadow->page = size >= 512 ? (size_t)size - 4 : 508;
        code = SQLITE_DONE;
    }
    return finish(shadow, statement, code);
}

/* Opens the vectors of a block and tells how many bytes they have. */
static int open_block(struct shadow *shadow, sqlite3_int64 block, size_t *length)
{
    int code = SQLITE_OK;
    if (!shadow->blob) {
        char *table = shadow->api->mprintf("%s_vector_chunks00", shadow->table);
        if (!table)
            return SQLITE_NOMEM;
        code = shadow->api->blob_open(shadow->database, "main", table, "vectors", block, 0, &shadow->blob);
        shadow->api->free(table);
    } else if (block != shadow->block) {
        code = shadow->api->blob_reopen(shadow->blob, block);
    }
    if (code == SQLITE_ERROR)
        return damaged(shadow); /* no such row, or what is in it is no BLOB */
    if (code != SQLITE_OK)
        return failed(shadow, code);
    shadow->block = block;
    *length = (size_t)shadow->api->blob_bytes(shadow->blob);
    find_pages(shadow, *length);
    return SQLITE_OK;
}

static int make_room(struct shadow *shadow)
{
    shadow->most = shadow->size < MAIN_MEMORY ? MAIN_MEMORY / shadow->size : 1;
    shadow->vectors = malloc(shadow->most * shadow->size);
    shadow->distances = malloc(shadow->most * sizeof *shadow->distances);
    return shadow->vectors && shadow->distances ? find_page_size(shadow) : SQLITE_NOMEM;
}

/* Reads bytes of the open block. What spans several pages SQLite reads from the file, even if it has them in its cache
   (SQLITE_DIRECT_OVERFLOW_READ): good for cells, of which each query reads others; all else is read page by page. */
static int read(struct shadow *shadow, size_t from, size_t length)
{
    int code = SQLITE_OK;
    if (shadow->is_direct)
        code = shadow->api->blob_read(shadow->blob, shadow->vectors, (int)length, (int)from);
    for (size_t done = shadow->is_direct ? length : 0, count; done < length && code == SQLITE_OK; done += count) {
        size_t at = from + done;
        count = at < shadow->first_page ? shadow->first_page - at
                                        : shadow->page - (at - shadow->first_page) % shadow->page;
        if (count > length - done)
            count = length - done;
        code = shadow->api->blob_read(shadow->blob, shadow->vectors + done, (int)count, (int)at);
    }
    return code == SQLITE_OK ? code : failed(shadow, code);
}

/* A block as `_chunks` has it. */
struct places {
    const unsigned char *validity;
    const unsigned char *ids;
    size_t count;
};

static sqlite3_int64 id_at(const struct places *places, size_t place)
{
    uint64_t id = 0;
    for (int byte = 7; byte >= 0; byte--)
        id = id << 8 | places->ids[8 * place + (size_t)byte];
    return (sqlite3_int64)id;
}

static bool is_wanted(const struct places *places, size_t place, const struct ids *ids)
{
    return places->validity[place / 8] >> place % 8 & 1 && (!ids || ids_have(ids, id_at(places, place)));
}

/* Takes in what is wanted of some vectors of the open block. */
static int take(struct shadow *shadow, size_t first, size_t count, const struct places *places, const struct ids *ids,
                struct nearest *nearest)
{
    size_t dimension = shadow->size / shadow->metric->width;
    double slack = distances_slack(dimension);
    int code = read(shadow, first * shadow->size, count * shadow->size);
    if (code != SQLITE_OK)
        return code;
    shadow->metric->estimate(shadow->query, shadow->vectors, count, dimension, shadow->distances);
    for (size_t place = 0; place < count; place++) {
        if (!is_wanted(places, first + place, ids))
            continue;
        nearest->seen++;
        if (shadow->distances[place] > nearest_bound(nearest) * slack)
            continue;
        double distance = shadow->metric->measure(shadow->query, shadow->vectors + place * shadow->size, dimension);
        if (!nearest_take(nearest, distance, id_at(places, first + place)))
            return SQLITE_NOMEM;
    }
    return SQLITE_OK;
}

static int scan_block(struct shadow *shadow, sqlite3_int64 block, struct places places, const struct ids *ids,
                      struct nearest *nearest)
{
    size_t first = 0, all = places.count, length = 0;
    while (first < places.count && !is_wanted(&places, first, ids))
        first++;
    if (first == places.count)
        return SQLITE_OK;
    while (!is_wanted(&places, places.count - 1, ids))
        places.count--;
    int code = open_block(shadow, block, &length);
    if (code == SQLITE_OK && length != all * shadow->size)
        code = damaged(shadow);
    if (code != SQLITE_OK)
        return code;
    for (size_t count; first < places.count; first += count) {
        count = places.count - first < shadow->most ? places.count - first : shadow->most;
        code = take(shadow, first, count, &places, ids, nearest);
        if (code != SQLITE_OK)
            return code;
    }
    return SQLITE_OK;
}

/* Takes the row of a block; false if it is none that sqlite-vec has written. */
static bool take_places(struct shadow *shadow, sqlite3_stmt *row, struct places *places)
{
    const struct sqlite_routines *api = shadow->api;
    if (api->column_type(row, 0) != SQLITE_INTEGER || api->column_type(row, 1) != SQLITE_BLOB ||
        api->column_type(row, 2) != SQLITE_BLOB)
        return false;
    places->validity = api->column_blob(row, 1);
    places->ids = api->column_blob(row, 2);
    size_t bits = 8 * (size_t)api->column_bytes(row, 1), bytes = (size_t)api->column_bytes(row, 2);
    places->count = bytes / 8;
    return bytes % 8 == 0 && places->count <= bits && places->validity && places->ids;
}

int shadow_scan(struct shadow *shadow, const char *cells, const struct ids *ids, struct nearest *nearest)
{
    const struct sqlite_routines *api = shadow->api;
    sqlite3_stmt *blocks = NULL;
    shadow->is_direct = cells != NULL;
    int code = make_room(shadow);
    if (code == SQLITE_OK)
        code = prepare(shadow,
                       cells ? "SELECT chunk_id, validity, rowids FROM main.\"%w_chunks\" "
                               "WHERE partition00 IN (SELECT value FROM main.json_each(?1)) ORDER BY partition00, chunk_id"
                             : "SELECT chunk_id, validity, rowids FROM main.\"%w_chunks\" ORDER BY chunk_id",
                       &blocks);
    if (code == SQLITE_OK && cells)
        code = api->bind_text(blocks, 1, cells, -1, SQLITE_STATIC);
    while (code == SQLITE_OK && (code = api->step(blocks)) == SQLITE_ROW) {
        struct places places;
        code = take_places(shadow, blocks, &places)
                   ? scan_block(shadow, api->column_int64(blocks, 0), places, ids, nearest)
                   : damaged(shadow);
    }
    return finish(shadow, blocks, code);
}

int shadow_look_up(struct shadow *shadow, const char *ids, struct nearest *nearest)
{
    const struct sqlite_routines *api = shadow->api;
    sqlite3_stmt *wanted = NULL;
    int code = make_room(shadow);
    if (code == SQLITE_OK)
        code = prepare(shadow,
                       "SELECT DISTINCT place.chunk_id, place.chunk_offset, place.rowid FROM main.json_each(?1) AS wanted "
                       "CROSS JOIN main.\"%w_rowids\" AS place ON place.rowid = wanted.value ORDER BY 1, 2",
                       &wanted);
    if (code == SQLITE_OK)
        code = api->bind_text(wanted, 1, ids, -1, SQLITE_STATIC);
    while (code == SQLITE_OK && (code = api->step(wanted)) == SQLITE_ROW) {
        sqlite3_int64 place = api->column_int64(wanted, 1);
        size_t length = 0;
        code = open_block(shadow, api->column_int64(wanted, 0), &length);
        if (code == SQLITE_OK && (place < 0 || (sqlite3_uint64)place >= length / shadow->size || length % shadow->size))
            code = damaged(shadow);
        if (code == SQLITE_OK)
            code = read(shadow, (size_t)place * shadow->size, shadow->size);
        if (code != SQLITE_OK)
            break;
        double distance = shadow->metric->measure(shadow->query, shadow->vectors, shadow->size / shadow->metric->width);
        nearest->seen++;
        if (!nearest_take(nearest, distance, api->column_int64(wanted, 2)))
            code = SQLITE_NOMEM;
    }
    return finish(shadow, wanted, code);
}

void shadow_close(struct shadow *shadow)
{
    if (shadow->blob)
        shadow->api->blob_close(shadow->blob);
    free(shadow->vectors);
    free(shadow->distances);
}
