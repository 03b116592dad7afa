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

/* Finds the places of those ids that have one, and counts them. */
static int find_places(struct source *source, const int64_t *ids, size_t count, struct place *places, size_t *found)
{
    const struct sqlite_routines *api = source->api;
    sqlite3_stmt *place = NULL;
    int code = source_prepare(source, "SELECT chunk_id, chunk_offset FROM main.\"%w_rowids\" WHERE rowid = ?1", &place);
    *found = 0;
    for (size_t next = 0; code == SQLITE_OK && next < count; next++) {
        api->bind_int64(place, 1, ids[next]);
        code = api->step(place);
        if (code == SQLITE_ROW)
            places[(*found)++] =
                (struct place){api->column_int64(place, 0), api->column_int64(place, 1), (sqlite3_int64)ids[next]};
        if (code == SQLITE_ROW || code == SQLITE_DONE)
            code = api->reset(place);
    }
    code = source_finish(source, place, code);
    qsort(places, *found, sizeof *places, by_place);
    return code;
}

static int open_block(struct source *source, sqlite3_int64 block, sqlite3_blob **blob)
{
    int code;
    if (*blob) {
        code = source->api->blob_reopen(*blob, block);
    } else {
        char *table = source->api->mprintf("%s_vector_chunks00", source->table);
        if (!table)
            return SQLITE_NOMEM;
        code = source->api->blob_open(source->database, "main", table, "vectors", block, 0, blob);
        source->api->free(table);
    }
    if (code == SQLITE_ERROR)
        return source_damaged(source); /* no such row, or what is in it is no BLOB */
    return code == SQLITE_OK ? code : source_failed(source, code);
}

/* Reads the vector at a place; `before` is the place that was read last, if the BLOB is open. */
static int read(struct source *source, const struct place *place, const struct place *before, sqlite3_blob **blob,
                void *vector, size_t size)
{
    int code = !*blob || place->block != before->block ? open_block(source, place->block, blob) : SQLITE_OK;
    if (code != SQLITE_OK)
        return code;
    size_t length = (size_t)source->api->blob_bytes(*blob);
    if (place->offset < 0 || (sqlite3_uint64)place->offset >= length / size || length % size)
        return source_damaged(source);
    code = source->api->blob_read(*blob, vector, (int)size, (int)((size_t)place->offset * size));
    return code == SQLITE_OK ? code : source_failed(source, code);
}

int shadow_look_up(struct source *source, const struct metric *metric, const void *query, size_t size,
                   const int64_t *ids, size_t count, struct nearest *nearest)
{
    struct place *places = malloc((count ? count : 1) * sizeof *places);
    void *vector = malloc(size);
    sqlite3_blob *blob = NULL;
    size_t found = 0;
    int code = places && vector ? find_places(source, ids, count, places, &found) : SQLITE_NOMEM;
    for (size_t next = 0; code == SQLITE_OK && next < found; next++) {
        code = read(source, &places[next], &places[next ? next - 1 : 0], &blob, vector, size);
        if (code == SQLITE_OK &&
            !nearest_take(nearest, metric->measure(query, vector, size / metric->width), places[next].id))
            code = SQLITE_NOMEM;
    }
    if (blob)
        source->api->blob_close(blob);
    free(places);
    free(vector);
    return code;
}
