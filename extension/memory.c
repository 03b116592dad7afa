#define _GNU_SOURCE 1 /* strdup */

#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"
#include "library.h"

enum { LINE = 64 }; /* bytes: of a vector of a kernel's, and of a processor's cache */

struct shelf {
    char *file, *table;
    const void *connection; /* NULL where there is a file */
    struct blocks blocks;
    time_t searched; /* last, by a clock that only goes forwards */
    unsigned users;
    struct shelf *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the shelves, for moments */
static struct shelf *shelves;
static atomic_size_t kept;

static size_t rounded(size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

struct block *block_new(size_t count, size_t words)
{
    size_t groups = (count + GROUP - 1) / GROUP;
    size_t of_struct = rounded(sizeof(struct block)), of_codes = groups * GROUP * words * sizeof(uint64_t);
    size_t of_factors = rounded(groups * GROUP * sizeof(float));
    size_t bytes = rounded(of_struct + of_codes + of_factors + count * sizeof(int64_t));
    char *memory = aligned_alloc(LINE, bytes);
    struct block *block = (struct block *)memory;
    if (!block)
        return NULL;
    *block = (struct block){
        .count = count,
        .words = words,
        .groups = (uint64_t *)(memory + of_struct),
        .factors = (float *)(memory + of_struct + of_codes),
        .ids = (int64_t *)(memory + of_struct + of_codes + of_factors),
        .bytes = bytes,
    };
    atomic_init(&block->references, 1);
    memset(block->factors, 0, of_factors);
    return block;
}

struct block *block_hold(struct block *block)
{
    atomic_fetch_add_explicit(&block->references, 1, memory_order_relaxed);
    return block;
}

void block_release(struct block *block)
{
    if (atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) > 1)
        return;
    if (block->is_kept)
        atomic_fetch_sub(&kept, block->bytes);
    free(block);
}

bool blocks_add(struct blocks *blocks, struct block *block)
{
    if (blocks->count == blocks->room) {
        size_t room = blocks->room ? 2 * blocks->room : 64;
        struct block **at = realloc(blocks->at, room * sizeof(*at));
        if (!at)
            return false;
        blocks->at = at;
        blocks->room = room;
    }
    blocks->at[blocks->count++] = block;
    return true;
}

void blocks_clear(struct blocks *blocks)
{
    for (size_t place = 0; place < blocks->count; place++)
        block_release(blocks->at[place]);
    blocks->count = 0;
}

void blocks_free(struct blocks *blocks)
{
    blocks_clear(blocks);
    free(blocks->at);
    *blocks = (struct blocks){0};
}

static bool blocks_copy(struct blocks *to, const struct blocks *from)
{
    for (size_t place = 0; place < from->count; place++) {
        if (!blocks_add(to, from->at[place]))
            return false;
        block_hold(from->at[place]);
    }
    return true;
}

/* A process that is forked while another thread has the lock would find it locked for ever. */
static void take_lock(void) { pthread_mutex_lock(&lock); }
static void leave_lock(void) { pthread_mutex_unlock(&lock); }

static void hold_over_fork(void)
{
    library_stay();
    pthread_atfork(take_lock, leave_lock, leave_lock);
}

static void shelf_free(struct shelf *shelf)
{
    if (!shelf)
        return;
    blocks_free(&shelf->blocks);
    free(shelf->file);
    free(shelf->table);
    free(shelf);
}

static struct shelf *shelf_new(const char *file, const void *connection, const char *table)
{
    struct shelf *shelf = calloc(1, sizeof *shelf);
    if (!shelf)
        return NULL;
    shelf->file = strdup(file);
    shelf->table = strdup(table);
    shelf->connection = *file ? NULL : connection;
    if (shelf->file && shelf->table)
        return shelf;
    shelf_free(shelf);
    return NULL;
}

bool shelf_is_of(const struct shelf *shelf, const char *file, const char *table)
{
    return !strcmp(shelf->file, file) && !strcmp(shelf->table, table);
}

struct shelf *shelf_open(const char *file, const void *connection, const char *table)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hold_over_fork);
    struct shelf *made = shelf_new(file, connection, table), *found;
    if (!made)
        return NULL;
    take_lock();
    for (found = shelves; found; found = found->next)
        if (shelf_is_of(found, file, table) && found->connection == made->connection)
            break;
    if (!found) {
        found = made;
        found->next = shelves;
        shelves = found;
        made = NULL;
    }
    found->users++;
    leave_lock();
    shelf_free(made);
    return found;
}

void shelf_close(struct shelf *shelf)
{
    take_lock();
    bool is_last = !--shelf->users;
    for (struct shelf **at = &shelves; is_last && *at; at = &(*at)->next)
        if (*at == shelf) {
            *at = shelf->next;
            break;
        }
    leave_lock();
    if (is_last)
        shelf_free(shelf);
}

static time_t now(void)
{
    struct timespec time = {0};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

/* Clears the shelf that has not been searched for the longest time, if that is long enough. */
static void make_room(const struct shelf *but)
{
    struct shelf *oldest = NULL;
    struct blocks blocks = {0};
    take_lock();
    for (struct shelf *shelf = shelves; shelf; shelf = shelf->next)
        if (shelf != but && shelf->blocks.count && (!oldest || shelf->searched < oldest->searched))
            oldest = shelf;
    if (oldest && oldest->searched + REST <= now()) {
        blocks = oldest->blocks;
        oldest->blocks = (struct blocks){0};
    }
    leave_lock();
    blocks_free(&blocks);
}

static bool is_room(size_t bytes)
{
    if (atomic_fetch_add(&kept, bytes) + bytes <= MOST_KEPT)
        return true;
    atomic_fetch_sub(&kept, bytes);
    return false;
}

bool shelf_keep(struct shelf *shelf, struct block *block)
{
    block->is_kept = is_room(block->bytes);
    if (!block->is_kept) {
        make_room(shelf);
        block->is_kept = is_room(block->bytes);
    }
    return block->is_kept;
}

bool shelf_look(struct shelf *shelf, struct blocks *blocks)
{
    take_lock();
    shelf->searched = now();
    bool done = blocks_copy(blocks, &shelf->blocks);
    leave_lock();
    return done;
}

void shelf_put(struct shelf *shelf, const struct blocks *blocks)
{
    struct blocks put = {0};
    if (blocks_copy(&put, blocks)) {
        take_lock();
        struct blocks before = shelf->blocks;
        shelf->blocks = put;
        put = before;
        leave_lock();
    }
    blocks_free(&put);
}
