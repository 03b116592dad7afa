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

/* Seconds after which a table that nobody searches makes room for another one. */
#ifndef REST
#define REST 60
#endif

enum { MOST_CODES = 2048 }; /* of a block */

/* Codes as kernels.h has them. */
struct block {
    int64_t first_id, stamp; /* what the table calls it */
    size_t count, words;     /* codes, and words of a code */
    uint64_t *groups;
    float *factors; /* of the last group all, zeros behind the codes */
    int64_t *ids;
    size_t bytes;
    bool is_kept; /* it counts among what the process keeps */
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

bool blocks_add(struct blocks *blocks, struct block *block); /* takes the reference, if there is memory */
void blocks_clear(struct blocks *blocks);
void blocks_free(struct blocks *blocks);

/* The blocks of a table: of a file, or of a connection whose database is none. */
struct shelf;

/* NULL if memory is short. */
struct shelf *shelf_open(const char *file, const void *connection, const char *table);
bool shelf_is_of(const struct shelf *shelf, const char *file, const char *table);
void shelf_close(struct shelf *shelf);

/* What it has, and what it shall have from now on: those of some blocks for which there is room. */
bool shelf_look(struct shelf *shelf, struct blocks *blocks);
void shelf_put(struct shelf *shelf, const struct blocks *blocks);

/* Asks for room for a block of a shelf in what the process keeps. */
bool shelf_keep(struct shelf *shelf, struct block *block);

#endif
