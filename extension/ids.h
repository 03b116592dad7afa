/* A set of ids, to ask of each that a scan comes upon whether it is one of them. */

#ifndef SQLRAG_IDS_H
#define SQLRAG_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ids {
    int64_t *slots;
    size_t mask;  /* of slots, a power of two, less one */
    size_t count; /* of ids, as they were listed */
    bool has_empty; /* the id that stands for an empty slot */
};

enum ids_outcome { IDS_GOOD, IDS_WRONG, IDS_NO_MEMORY };

/* Reads a JSON array of whole numbers, as json_group_array() writes it. */
enum ids_outcome ids_read(struct ids *ids, const char *json, size_t length);
bool ids_have(const struct ids *ids, int64_t id);
void ids_free(struct ids *ids);

#endif
