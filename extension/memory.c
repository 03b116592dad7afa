#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "library.h"

struct shelf {
    struct shelf *next;
    unsigned users;
    struct blocks blocks;
    char key[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the shelves, for moments */
static struct shelf *shelves;
static atomic_size_t kept;

struct block *block_new(size_t count, size_t words)
{
    size_t line = sizeof(uint64_t[GROUP]), whole = (count + GROUP - 1) / GROUP * GROUP;
    size_t each = words * sizeof(uint64_t) + sizeof(float) + sizeof(int64_t);
    size_t bytes = (sizeof(struct block) + whole * each + line - 1) / line * line;
    struct block *block = aligned_alloc(line, bytes);
    if (!block)
        return NULL;
    memset(block, 0, bytes);
    block->count = count;
    block->words = words;
    block->groups = (uint64_t *)(block + 1);
    block->ids = (int64_t *)(block->groups + whole * words);
    block->factors = (float *)(block->ids + whole);
    block->bytes = bytes;
    block->is_kept = atomic_fetch_add(&kept, bytes) + bytes <= MOST_KEPT;
    if (!block->is_kept)
        atomic_fetch_sub(&kept, bytes);
    atomic_init(&block->references, 1);
    return block;
}

struct block *block_hold(struct block *block)
{
    atomic_fetch_add(&block->references, 1);
    return block;
}

void block_release(struct block *block)
{
    if (atomic_fetch_sub(&block->references, 1) > 1)
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
        if (!at) {
            block_release(block);
            return false;
        }
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
}

/* A process that is forked while another thread has the lock would find it locked for ever. */
static void take_lock(void) { pthread_mutex_lock(&lock); }
static void leave_lock(void) { pthread_mutex_unlock(&lock); }

static void hold_over_fork(void)
{
    library_stay();
    pthread_atfork(take_lock, leave_lock, leave_lock);
}

bool shelf_is_of(const struct shelf *shelf, const char *key) { return !strcmp(shelf->key, key); }

struct shelf *shelf_open(const char *key)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hold_over_fork);
    take_lock();
    struct shelf *shelf = shelves;
    while (shelf && !shelf_is_of(shelf, key))
        shelf = shelf->next;
    if (!shelf && (shelf = calloc(1, sizeof *shelf + strlen(key) + 1))) {
        strcpy(shelf->key, key);
        shelf->next = shelves;
        shelves = shelf;
    }
    if (shelf)
        shelf->users++;
    leave_lock();
    return shelf;
}

void shelf_close(struct shelf *shelf)
{
    take_lock();
    bool is_last = !--shelf->users;
    struct shelf **at = &shelves;
    while (is_last && *at != shelf)
        at = &(*at)->next;
    if (is_last)
        *at = shelf->next;
    leave_lock();
    if (!is_last)
        return;
    blocks_free(&shelf->blocks);
    free(shelf);
}

bool shelf_look(const struct shelf *shelf, struct blocks *blocks)
{
    bool done = true;
    take_lock();
    for (size_t place = 0; done && place < shelf->blocks.count; place++)
        done = blocks_add(blocks, block_hold(shelf->blocks.at[place]));
    leave_lock();
    return done;
}

void shelf_swap(struct shelf *shelf, struct blocks *blocks)
{
    take_lock();
    struct blocks before = shelf->blocks;
    shelf->blocks = *blocks;
    *blocks = before;
    leave_lock();
}
