#include "ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const int64_t EMPTY = INT64_MIN;

/* Knuth's multiplicative hash: neighbouring ids are scattered. */
static size_t slot_of(const struct ids *ids, int64_t id)
{
    size_t slot = (size_t)(((uint64_t)id * 0x9E3779B97F4A7C15u) >> 32) & ids->mask;
    while (ids->slots[slot] != EMPTY && ids->slots[slot] != id)
        slot = (slot + 1) & ids->mask;
    return slot;
}

static void add(struct ids *ids, int64_t id)
{
    if (id == EMPTY)
        ids->has_empty = true;
    else
        ids->slots[slot_of(ids, id)] = id;
    ids->count++;
}

bool ids_have(const struct ids *ids, int64_t id)
{
    return id == EMPTY ? ids->has_empty : ids->slots[slot_of(ids, id)] == id;
}

static const char *after_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* The text ends with a zero, as SQLite's texts do. */
enum ids_outcome ids_read(struct ids *ids, const char *json, size_t length)
{
    size_t most = 1, room = 16;
    for (size_t place = 0; place < length; place++)
        most += json[place] == ',';
    while (room < 2 * most)
        room *= 2;
    *ids = (struct ids){.slots = malloc(room * sizeof *ids->slots), .mask = room - 1};
    if (!ids->slots)
        return IDS_NO_MEMORY;
    for (size_t slot = 0; slot < room; slot++)
        ids->slots[slot] = EMPTY;
    const char *at = after_space(json);
    if (*at++ != '[')
        return IDS_WRONG;
    at = after_space(at);
    for (bool is_first = true; *at != ']' || !is_first; is_first = false) {
        char *end;
        errno = 0;
        if (*at != '-' && (*at < '0' || *at > '9'))
            return IDS_WRONG;
        int64_t id = strtoll(at, &end, 10);
        if (end == at || errno)
            return IDS_WRONG;
        add(ids, id);
        at = after_space(end);
        if (*at == ']')
            break;
        if (*at++ != ',')
            return IDS_WRONG;
        at = after_space(at);
    }
    return *after_space(at + 1) ? IDS_WRONG : IDS_GOOD;
}

void ids_free(struct ids *ids)
{
    free(ids->slots);
    *ids = (struct ids){0};
}
