#include "ids.h"

#include <stdlib.h>
#include <string.h>

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* As a number without a sign, in the same order. */
static uint64_t unsigned_of(int64_t id) { return (uint64_t)id ^ (uint64_t)1 << 63; }

/* Sorts a copy by the digits in which ids differ, the lowest first. */
static bool sort(struct ids *ids, const void *blob, size_t length)
{
    int64_t *from = malloc(length), *to = malloc(length);
    uint64_t differ = 0;
    if (from && to)
        memcpy(from, blob, length);
    for (size_t place = 0; from && to && place < ids->count; place++)
        differ |= (uint64_t)(from[place] ^ from[0]);
    for (unsigned shift = 0; shift < 64 && differ >> shift; shift += DIGIT_BITS) {
        size_t begins[DIGITS + 1] = {0};
        for (size_t place = 0; place < ids->count; place++)
            begins[(unsigned_of(from[place]) >> shift) % DIGITS + 1]++;
        for (size_t digit = 1; digit < DIGITS; digit++)
            begins[digit] += begins[digit - 1];
        for (size_t place = 0; place < ids->count; place++)
            to[begins[(unsigned_of(from[place]) >> shift) % DIGITS]++] = from[place];
        int64_t *sorted = to;
        to = from;
        from = sorted;
    }
    bool done = from && to;
    free(to);
    ids->at = ids->own = from;
    return done;
}

bool ids_read(struct ids *ids, const void *blob, size_t length)
{
    *ids = (struct ids){.at = blob, .count = length / sizeof(int64_t)};
    bool is_sorted = (uintptr_t)blob % sizeof(int64_t) == 0;
    for (size_t place = 1; is_sorted && place < ids->count; place++)
        is_sorted = ids->at[place - 1] < ids->at[place];
    if (is_sorted)
        return true;
    size_t different = 1;
    if (!sort(ids, blob, length))
        return false;
    for (size_t place = 1; place < ids->count; place++)
        if (ids->at[place] != ids->at[different - 1])
            ids->own[different++] = ids->at[place];
    ids->count = different;
    return true;
}

/* The first id of the set that is not below another. */
static const int64_t *first_from(const struct ids *ids, int64_t id)
{
    const int64_t *first = ids->at;
    for (size_t left = ids->count; left;) {
        size_t half = left / 2;
        bool is_below = first[half] < id;
        first += is_below ? half + 1 : 0;
        left = is_below ? left - half - 1 : half;
    }
    return first;
}

void ids_mark(const struct ids *ids, const int64_t *some, size_t count, uint8_t *marks)
{
    bool has_gaps = (uint64_t)some[count - 1] - (uint64_t)some[0] != count - 1;
    size_t place = 0;
    for (const int64_t *id = first_from(ids, some[0]); id < ids->at + ids->count && *id <= some[count - 1]; id++) {
        if (!has_gaps)
            place = (size_t)((uint64_t)*id - (uint64_t)some[0]);
        while (has_gaps && some[place] < *id)
            place++;
        marks[place] = !has_gaps || some[place] == *id;
    }
}

void ids_free(struct ids *ids) { free(ids->own); }
