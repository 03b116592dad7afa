/* A set of ids: those that a filter lets through. */

#ifndef SQLRAG_IDS_H
#define SQLRAG_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ids {
    const int64_t *at; /* in ascending order */
    size_t count;
    int64_t *own; /* memory */
};

/* Takes them from a BLOB of int64, little-endian, in any order, some perhaps twice; those in order stay where they are.
   False if memory is short. */
bool ids_read(struct ids *ids, const void *blob, size_t length);

/* Sets the marks, which are 0, of those of some ids, in ascending order, that are in the set. */
void ids_mark(const struct ids *ids, const int64_t *some, size_t count, uint8_t *marks);

void ids_free(struct ids *ids);

#endif
