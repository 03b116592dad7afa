#include "codes.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "numbers are read as they lie in the file, which has them little-endian"
#endif

/* A pass begins when so many codes are there, or so many bytes that will not be kept; SQLite tells of an interrupt
   before the next one. */
enum { CODES_AT_ONCE = 1 << 21, BYTES_AT_ONCE = 32 << 20 };

struct reading {
    struct source *source;
    struct shelf *shelf;
    size_t words;
    sqlite3_stmt *block;   /* reads one */
    struct blocks known;   /* those that were kept before */
    struct blocks kept;    /* those to keep now */
    struct blocks waiting; /* for a pass */
    size_t codes, bytes;   /* of these, and of those of them that are not kept */
    size_t next;           /* of the known ones */
    bool is_changed;
};

/* Puts codes that lie one behind the other into groups. */
static void transpose(struct block *block, const unsigned char *codes)
{
    uint64_t *to = block->groups;
    size_t whole = block->count / GROUP, rest = block->count % GROUP, stride = block->words * sizeof *to;
    for (size_t group = 0; group < whole; group++, codes += GROUP * stride)
        for (size_t word = 0; word < block->words; word++)
            for (size_t lane = 0; lane < GROUP; lane++)
                memcpy(to++, codes + lane * stride + word * sizeof *to, sizeof *to);
    if (rest)
        memset(to, 0, GROUP * stride);
    for (size_t lane = 0; lane < rest; lane++)
        for (size_t word = 0; word < block->words; word++, codes += sizeof *to)
            memcpy(&to[word * GROUP + lane], codes, sizeof *to);
}

/* Makes a block of a row, if it is one that sqlrag has written. */
static int block_of(struct reading *reading, sqlite3_stmt *row, struct block **made)
{
    enum { IDS, FACTORS, CODES, COLUMNS };
    const struct sqlite_routines *api = reading->source->api;
    const void *blobs[COLUMNS];
    size_t lengths[COLUMNS];
    for (int column = 0; column < COLUMNS; column++) {
        if (api->column_type(row, column) != SQLITE_BLOB)
            return source_damaged(reading->source);
        blobs[column] = api->column_blob(row, column);
        lengths[column] = (size_t)api->column_bytes(row, column);
        if (!blobs[column] && lengths[column])
            return SQLITE_NOMEM;
    }
    size_t count = lengths[IDS] / sizeof(int64_t);
    if (!count || count > MOST_CODES || lengths[IDS] % sizeof(int64_t) || lengths[FACTORS] != count * sizeof(float) ||
        lengths[CODES] != count * reading->words * sizeof(uint64_t))
        return source_damaged(reading->source);
    struct block *block = *made = block_new(count, reading->words);
    if (!block)
        return SQLITE_NOMEM;
    memcpy(block->ids, blobs[IDS], lengths[IDS]);
    memcpy(block->factors, blobs[FACTORS], lengths[FACTORS]);
    transpose(block, blobs[CODES]);
    return SQLITE_OK;
}

/* Reads the block of a first id. */
static int read(struct reading *reading, sqlite3_int64 first_id, struct block **block)
{
    const struct sqlite_routines *api = reading->source->api;
    int code = SQLITE_OK;
    if (!reading->block)
        code = source_prepare(reading->source,
                              "SELECT ids, factors, codes FROM main.\"%w\" WHERE first_id = ?1", &reading->block);
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
    bool is_it = block && block->first_id == first_id && block->stamp == stamp && block->words == reading->words;
    return is_it ? block_hold(block) : NULL;
}

static int take_row(struct reading *reading, sqlite3_stmt *row)
{
    const struct sqlite_routines *api = reading->source->api;
    if (api->column_type(row, 1) != SQLITE_INTEGER)
        return source_damaged(reading->source);
    sqlite3_int64 first_id = api->column_int64(row, 0), stamp = api->column_int64(row, 1);
    struct block *block = known(reading, first_id, stamp);
    if (!block) {
        int code = read(reading, first_id, &block);
        if (code != SQLITE_OK)
            return code;
        block->first_id = first_id;
        block->stamp = stamp;
        reading->is_changed |= shelf_keep(reading->shelf, block);
        if (!block->is_kept)
            reading->bytes += block->bytes;
    }
    reading->codes += block->count;
    if (!blocks_add(&reading->waiting, block)) {
        block_release(block);
        return SQLITE_NOMEM;
    }
    if (block->is_kept && !blocks_add(&reading->kept, block))
        return SQLITE_NOMEM;
    if (block->is_kept)
        block_hold(block);
    return SQLITE_OK;
}

static int scan(struct reading *reading, const struct pass *pass, struct nearest *nearest)
{
    bool done = pass_run(pass, &reading->waiting, nearest);
    blocks_clear(&reading->waiting);
    reading->codes = reading->bytes = 0;
    return done ? SQLITE_OK : SQLITE_NOMEM;
}

static int read_all(struct reading *reading, const struct pass *pass, struct nearest *nearest)
{
    const struct sqlite_routines *api = reading->source->api;
    sqlite3_stmt *rows = NULL;
    int code = source_prepare(reading->source, "SELECT first_id, stamp FROM main.\"%w\" ORDER BY first_id", &rows);
    while (code == SQLITE_OK && (code = api->step(rows)) == SQLITE_ROW) {
        code = take_row(reading, rows);
        if (code == SQLITE_OK && (reading->codes >= CODES_AT_ONCE || reading->bytes >= BYTES_AT_ONCE))
            code = scan(reading, pass, nearest);
    }
    code = source_finish(reading->source, rows, code);
    return code == SQLITE_OK ? scan(reading, pass, nearest) : code;
}

int codes_search(struct source *source, struct shelf *shelf, const struct pass *pass, struct nearest *nearest)
{
    struct reading reading = {.source = source, .shelf = shelf, .words = pass->planes.words};
    int code = shelf_look(shelf, &reading.known) ? read_all(&reading, pass, nearest) : SQLITE_NOMEM;
    if (code == SQLITE_OK && (reading.is_changed || reading.kept.count != reading.known.count))
        shelf_put(shelf, &reading.kept);
    source->api->finalize(reading.block);
    blocks_free(&reading.known);
    blocks_free(&reading.kept);
    blocks_free(&reading.waiting);
    return code;
}
