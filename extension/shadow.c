#include "shadow.h"

#include <stdlib.h>

/* Where the vector of an id lies. */
struct place {
    sqlite3_int64 block, offset, id;
};

/* In the order of the file: each block is opened once, and its pages are read forwards. */
static int by_place(const void *one, const void *other)
{
    const struct place *a = one, *b = other;
    if (a->block != b->block)
        return a->block < b->block ? -1 : 1;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* What a lookup goes through. */
struct look_up {
    struct source *source;
    const int64_t *ids;
    size_t count;
    struct place *places; /* of those ids that have one */
    size_t found;
    sqlite3_blob *blob; /* the block that is open, and its number */
    sqlite3_int64 block;
    unsigned char *vectors; /* those that were read last */
};

static void take_place(struct look_up *all, sqlite3_stmt *row)
{
    const struct sqlite_routines *api = all->source->api;
    all->places[all->found++] =
        (struct place){api->column_int64(row, 1), api->column_int64(row, 2), api->column_int64(row, 0)};
}

/* Finds the place of each id by itself. */
static int find_each(struct look_up *all)
{
    const struct sqlite_routines *api = all->source->api;
    sqlite3_stmt *place = NULL;
    int code = source_prepare(
        all->source, "SELECT rowid, chunk_id, chunk_offset FROM main.\"%w_rowids\" WHERE rowid = ?1", &place);
    for (size_t next = 0; code == SQLITE_OK && next < all->count; next++) {
        api->bind_int64(place, 1, all->ids[next]);
        code = api->step(place);
        if (code == SQLITE_ROW)
            take_place(all, place);
        if (code == SQLITE_ROW || code == SQLITE_DONE)
            code = api->reset(place);
    }
    return source_finish(all->source, place, code);
}

/* Goes through the places of all ids from the first to the last. */
static int find_between(struct look_up *all)
{
    const struct sqlite_routines *api = all->source->api;
    sqlite3_stmt *place = NULL;
    size_t next = 0;
    int code = source_prepare(all->source,
                              "SELECT rowid, chunk_id, chunk_offset FROM main.\"%w_rowids\" "
                              "WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid",
                              &place);
    if (code == SQLITE_OK) {
        api->bind_int64(place, 1, all->ids[0]);
        api->bind_int64(place, 2, all->ids[all->count - 1]);
    }
    while (code == SQLITE_OK && (code = api->step(place)) == SQLITE_ROW) {
        sqlite3_int64 id = api->column_int64(place, 0);
        code = SQLITE_OK;
        while (next < all->count && all->ids[next] < id)
            next++;
        if (next < all->count && all->ids[next] == id && all->found < all->count)
            take_place(all, place);
    }
    return source_finish(all->source, place, code);
}

/* One by one where they lie far apart. */
static int find_places(struct look_up *all)
{
    enum { FAR = 16 };
    if (!all->count)
        return SQLITE_OK;
    uint64_t span = (uint64_t)all->ids[all->count - 1] - (uint64_t)all->ids[0];
    int code = span / FAR < all->count ? find_between(all) : find_each(all);
    qsort(all->places, all->found, sizeof *all->places, by_place);
    return code;
}

static int open_block(struct look_up *all, sqlite3_int64 block)
{
    struct source *source = all->source;
    int code = SQLITE_OK;
    if (!all->blob) {
        char *table = source->api->mprintf("%s_vector_chunks00", source->table);
        if (!table)
            return SQLITE_NOMEM;
        code = source->api->blob_open(source->database, "main", table, "vectors", block, 0, &all->blob);
        source->api->free(table);
    } else if (block != all->block) {
        code = source->api->blob_reopen(all->blob, block);
    }
    all->block = block;
    if (code == SQLITE_ERROR)
        return source_damaged(source); /* no such row, or what is in it is no BLOB */
    return code == SQLITE_OK ? code : source_failed(source, code);
}

/* Reads vectors that lie side by side. */
static int read(struct look_up *all, const struct place *first, size_t count, size_t size)
{
    struct source *source = all->source;
    int code = open_block(all, first->block);
    if (code != SQLITE_OK)
        return code;
    size_t length = (size_t)source->api->blob_bytes(all->blob), there = length / size;
    if (length % size || first->offset < 0 || (sqlite3_uint64)first->offset >= there ||
        count > there - (size_t)first->offset)
        return source_damaged(source);
    code = source->api->blob_read(all->blob, all->vectors, (int)(count * size), (int)((size_t)first->offset * size));
    return code == SQLITE_OK ? code : source_failed(source, code);
}

/* How many of the places from one on lie side by side, at most `most`. */
static size_t run_of(const struct look_up *all, size_t first, size_t most)
{
    size_t count = 1;
    for (const struct place *place = &all->places[first]; count < most && first + count < all->found; count++)
        if (place[count].block != place->block || (sqlite3_uint64)place[count].offset != (sqlite3_uint64)place->offset + count)
            break;
    return count;
}

static int measure(struct look_up *all, const struct metric *metric, const void *query, size_t size, size_t most,
                   struct nearest *nearest)
{
    for (size_t first = 0, count; first < all->found; first += count) {
        count = run_of(all, first, most);
        int code = read(all, &all->places[first], count, size);
        if (code != SQLITE_OK)
            return code;
        for (size_t next = 0; next < count; next++) {
            double distance = metric->measure(query, all->vectors + next * size, size / metric->width);
            if (!nearest_take(nearest, distance, all->places[first + next].id))
                return SQLITE_NOMEM;
        }
    }
    return SQLITE_OK;
}

int shadow_look_up(struct source *source, const struct metric *metric, const void *query, size_t size,
                   const int64_t *ids, size_t count, struct nearest *nearest)
{
    enum { AT_ONCE = 1 << 15 }; /* bytes of vectors: they stay in the processor's cache */
    size_t most = size < AT_ONCE ? AT_ONCE / size : 1;
    struct look_up all = {
        .source = source,
        .ids = ids,
        .count = count,
        .places = malloc((count ? count : 1) * sizeof *all.places),
        .vectors = malloc(most * size),
    };
    int code = all.places && all.vectors ? find_places(&all) : SQLITE_NOMEM;
    if (code == SQLITE_OK)
        code = measure(&all, metric, query, size, most, nearest);
    if (all.blob)
        source->api->blob_close(all.blob);
    free(all.places);
    free(all.vectors);
    return code;
}
