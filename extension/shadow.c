#include "shadow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double float32_l2(const void *query, const void *vector, size_t dimension)
{
    enum { LANES = 16 }; /* side by side: on any processor the same ones, and the same result */
    const float *a = query, *b = vector;
    float sums[LANES] = {0}, sum = 0;
    size_t place = 0;
    for (; place + LANES <= dimension; place += LANES)
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] += (a[place + lane] - b[place + lane]) * (a[place + lane] - b[place + lane]);
    for (; place < dimension; place++)
        sum += (a[place] - b[place]) * (a[place] - b[place]);
    for (size_t lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    return sqrtf(sum);
}

static double int8_l2(const void *query, const void *vector, size_t dimension)
{
    const int8_t *a = query, *b = vector;
    uint32_t sum = 0;
    for (size_t place = 0; place < dimension; place++) {
        int difference = a[place] - b[place];
        sum += (uint32_t)(difference * difference);
    }
    return sqrtf((float)sum);
}

const struct metric *metric_named(const char *name)
{
    static const struct metric metrics[] = {{"float32 L2", sizeof(float), float32_l2}, {"int8 L2", 1, int8_l2}};
    for (size_t place = 0; place < sizeof metrics / sizeof *metrics; place++)
        if (!strcmp(metrics[place].name, name))
            return &metrics[place];
    return NULL;
}

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
    const struct ids *ids;
    struct place *places; /* of those ids that have one */
    size_t found;
    sqlite3_blob *blob; /* the block that is open, and its number */
    sqlite3_int64 block;
    unsigned char *vectors; /* those that were read last */
};

/* Finds the places of all ids; rows between two ids that lie close together are cheaper to step over than to skip. */
static int find_places(struct look_up *all)
{
    enum { FAR = 16 };
    const struct sqlite_routines *api = all->source->api;
    const struct ids *ids = all->ids;
    sqlite3_stmt *row = NULL;
    int code = source_prepare(all->source,
                              "SELECT rowid, chunk_id, chunk_offset FROM main.\"%w_rowids\" "
                              "WHERE rowid >= ?1 ORDER BY rowid",
                              &row);
    for (size_t next = 0; code == SQLITE_OK && next < ids->count;) {
        sqlite3_int64 sought = ids->at[next];
        api->bind_int64(row, 1, sought);
        for (bool is_far = false; !is_far && next < ids->count && (code = api->step(row)) == SQLITE_ROW;) {
            sqlite3_int64 id = api->column_int64(row, 0);
            if (id < sought)
                return source_finish(all->source, row, source_damaged(all->source));
            while (next < ids->count && ids->at[next] < id)
                next++;
            if (next < ids->count && ids->at[next] == id) {
                all->places[all->found++] = (struct place){api->column_int64(row, 1), api->column_int64(row, 2), id};
                next++;
            }
            is_far = next < ids->count && (uint64_t)ids->at[next] - (uint64_t)id > FAR;
        }
        if (code == SQLITE_ROW)
            code = api->reset(row);
    }
    qsort(all->places, all->found, sizeof *all->places, by_place);
    return source_finish(all->source, row, code);
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
                   const struct ids *ids, struct nearest *nearest)
{
    enum { AT_ONCE = 1 << 15 }; /* bytes of vectors: they stay in the processor's cache */
    size_t most = size < AT_ONCE ? AT_ONCE / size : 1;
    struct look_up all = {
        .source = source,
        .ids = ids,
        .places = malloc((ids->count + 1) * sizeof *all.places),
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
