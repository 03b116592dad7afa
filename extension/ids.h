/* A set of ids, to ask of each code that a pass comes upon whether it is wanted. */

#ifndef SQLRAG_IDS_H
#define SQLRAG_IDS_H

#include <stddef.h>
#include <stdint.h>

struct id_page;

struct ids {
    struct id_page *pages; /* those that have an id, in no order */
    size_t page_count, page_room;
    uint32_t *slots; /* a hash table of pages: the number of each, from 1 */
    unsigned bits;   /* of the number of slots, a power of two */
    size_t count;    /* of different ids */
};

enum ids_outcome { IDS_GOOD, IDS_WRONG, IDS_NO_MEMORY };

/* Reads a BLOB of int64, little-endian, as sqlrag_ids() makes it: in any order, some perhaps twice. */
enum ids_outcome ids_read(struct ids *ids, const void *blob, size_t length);

/* Sets the bits of those of some ids, in ascending order, that are in the set, the lowest bit of a byte first; the
   others' are cleared. */
void ids_mark(const struct ids *ids, const int64_t *some, size_t count, uint8_t *marks);

/* Lists the set in ascending order, in memory of malloc()'s; NULL if memory is short. */
int64_t *ids_list(const struct ids *ids);

void ids_free(struct ids *ids);

#endif
