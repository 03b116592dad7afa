/* Blocks of codes that were read, kept for the next query.

   The process keeps them, for all its connections and all its SQLite libraries: a shelf for each table of each file,
   until the last connection that asked for it is closed. A block is another one when its stamp is another one: whoever
   reads compares it with what the table says now, so nothing here can be out of date. */

#ifndef SQLRAG_MEMORY_H
#define SQLRAG_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that the process keeps at most: ten million codes of 384 dimensions. What is beyond is read for each query. */
#ifndef MOST_KEPT /* a test makes it less */
#define MOST_KEPT ((size_t)640 << 20)
#endif

enum { MOST_CODES = 2048 }; /* of a block */

/* Codes as kernels.h has them, zeros behind the last one of the last group. */
struct block {
    _Alignas(64) int64_t first_id; /* of a vector of a kernel's, and of a processor's cache */
    int64_t stamp;
    size_t count, words; /* codes, and words of a code */
    uint64_t *groups;
    float *factors;
    int64_t *ids;
    size_t bytes;
    bool is_kept; /* there was room for it */
    atomic_uint references;
};

/* Makes an empty block, with a reference; NULL if memory is short. */
struct block *block_new(size_t count, size_t words);
struct block *block_hold(struct block *block);
void block_release(struct block *block);

/* Some blocks in the order of their first ids, each with a reference. */
struct blocks {
    struct block **at;
    size_t count, room;
};

bool blocks_add(struct blocks *blocks, struct block *block); /* takes the reference; false if memory is short */
void blocks_clear(struct blocks *blocks);
void blocks_free(struct blocks *blocks);

/* The blocks that are kept of a table, which a key names; they are freed when nobody has it open. */
struct shelf;

struct shelf *shelf_open(const char *key); /* NULL if memory is short */
bool shelf_is_of(const struct shelf *shelf, const char *key);
void shelf_close(struct shelf *shelf);

/* Adds its blocks to others; false if memory is short. */
bool shelf_look(const struct shelf *shelf, struct blocks *blocks);

/* Exchanges its blocks for others. */
void shelf_swap(struct shelf *shelf, struct blocks *blocks);

#endif
