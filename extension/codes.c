#include "codes.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "numbers are read as they lie in the file, which has them little-endian"
#endif

enum { LOOSE_AT_ONCE = 32 << 20 }; /* bytes */

struct reading {
    struct source *source;
    const struct pass *pass;
    struct nearest *nearest;
    sqlite3_stmt *block; /* reads one */
    struct blocks known; /* those that were kept before */
    size_t next;         /* of these */
    struct blocks kept;  /* those to keep now */
    struct blocks loose; /* those for which there is no room */
    size_t loose_bytes;
};

/* Makes a block of a row, if it is one that sqlrag has written. */
static int block_of(struct reading *reading, sqlite3_stmt *row, struct block **made)
{
    enum { FIRST_ID, STAMP, IDS, FACTORS, CODES, COLUMNS };
    const struct sqlite_routines *api = reading->source->api;
    const void *blobs[COLUMNS];
    size_t lengths[COLUMNS];
    for (int column = IDS; column < COLUMNS; column++) {
        if (api->column_type(row, column) != SQLITE_BLOB)
            return source_damaged(reading->source);
        blobs[column] = api->column_blob(row, column);
        lengths[column] = (size_t)api->column_bytes(row, column);
        if (!blobs[column] && lengths[column])
            return SQLITE_NOMEM;
    }
    size_t count = lengths[IDS] / sizeof(int64_t), words = reading->pass->planes.words;
    if (!count || count > MOST_CODES || lengths[IDS] % sizeof(int64_t) || lengths[FACTORS] != count * sizeof(float) ||
        lengths[CODES] != count * words * sizeof(uint64_t))
        return source_damaged(reading->source);
    struct block *block = block_new(count, words);
    if (!block)
        return SQLITE_NOMEM;
    block->first_id = api->column_int64(row, FIRST_ID);
    block->stamp = api->column_int64(row, STAMP);
    memcpy(block->ids, blobs[IDS], lengths[IDS]);
    memcpy(block->factors, blobs[FACTORS], lengths[FACTORS]);
    for (size_t place = 1; place < count; place++)
        if (block->ids[place - 1] >= block->ids[place]) {
            block_release(block);
            return source_damaged(reading->source);
        }
    const char *codes = blobs[CODES];
    for (size_t place = 0; place < count; place++)
        for (size_t word = 0; word < words; word++, codes += sizeof *block->groups)
            memcpy(&block->groups[(place / GROUP * words + word) * GROUP + place % GROUP], codes, sizeof *block->groups);
    *made = block;
    return SQLITE_OK;
}

/* Reads the block of a first id. */
static int read(struct reading *reading, sqlite3_int64 first_id, struct block **block)
{
    const struct sqlite_routines *api = reading->source->api;
    int code = SQLITE_OK;
    if (!reading->block)
        code = source_prepare(reading->source,
                              "SELECT first_id, stamp, ids, factors, codes FROM main.\"%w\" WHERE first_id = ?1",
                              &reading->block);
    if (code == SQLITE_OK)
        code = api->bind_int64(reading->block, 1, first_id);
    if (code != SQLITE_OK)
        return source_failed(reading->source, code);
    code = api->step(reading->block);
    if (code == SQLITE_ROW)
        code = block_of(reading, reading->block, block);
    else
        code = code == SQLITE_DONE ? source_damaged(reading->source) : source_failed(reading->source, code);
    api->reset(reading->block);
    return code;
}

/* The known block of a row, if there is one; both are in the order of first ids. */
static struct block *known(struct reading *reading, sqlite3_int64 first_id, sqlite3_int64 stamp)
{
    const struct blocks *blocks = &reading->known;
    while (reading->next < blocks->count && blocks->at[reading->next]->first_id < first_id)
        reading->next++;
    struct block *block = reading->next < blocks->count ? blocks->at[reading->next] : NULL;
    bool is_it = block && block->first_id == first_id && block->stamp == stamp && block->words == reading->pass->planes.words;
    return is_it ? block_hold(block) : NULL;
}

static int scan_loose(struct reading *reading)
{
    bool done = pass_run(reading->pass, &reading->loose, reading->nearest);
    blocks_clear(&reading->loose);
    reading->loose_bytes = 0;
    return done ? SQLITE_OK : SQLITE_NOMEM;
}

static int take_row(struct reading *reading, sqlite3_stmt *row)
{
    const struct sqlite_routines *api = reading->source->api;
    if (api->column_type(row, 1) != SQLITE_INTEGER)
        return source_damaged(reading->source);
    sqlite3_int64 first_id = api->column_int64(row, 0), stamp = api->column_int64(row, 1);
    struct block *block = known(reading, first_id, stamp);
    int code = block ? SQLITE_OK : read(reading, first_id, &block);
    if (code != SQLITE_OK)
        return code;
    if (!blocks_add(block->is_kept ? &reading->kept : &reading->loose, block))
        return SQLITE_NOMEM;
    reading->loose_bytes += block->is_kept ? 0 : block->bytes;
    return reading->loose_bytes < LOOSE_AT_ONCE ? SQLITE_OK : scan_loose(reading);
}

static int read_all(struct reading *reading)
{
    const struct sqlite_routines *api = reading->source->api;
    sqlite3_stmt *rows = NULL;
    int code = source_prepare(reading->source, "SELECT first_id, stamp FROM main.\"%w\" ORDER BY first_id", &rows);
    while (code == SQLITE_OK && (code = api->step(rows)) == SQLITE_ROW)
        code = take_row(reading, rows);
    code = source_finish(reading->source, rows, code);
    return code == SQLITE_OK ? scan_loose(reading) : code;
}

int codes_search(struct source *source, struct shelf *shelf, const struct pass *pass, struct nearest *nearest)
{
    struct reading reading = {.source = source, .pass = pass, .nearest = nearest};
    int code = shelf_look(shelf, &reading.known) ? read_all(&reading) : SQLITE_NOMEM;
    if (code == SQLITE_OK && !pass_run(pass, &reading.kept, nearest))
        code = SQLITE_NOMEM;
    if (code == SQLITE_OK)
        shelf_swap(shelf, &reading.kept);
    source->api->finalize(reading.block);
    blocks_free(&reading.known);
    blocks_free(&reading.kept);
    blocks_free(&reading.loose);
    return code;
}
