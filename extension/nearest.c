#include "nearest.h"

#include <math.h>
#include <stdlib.h>

static int by_distance(const void *one, const void *other)
{
    const struct near *a = one, *b = other;
    if (a->distance != b->distance)
        return a->distance < b->distance ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static int farthest_first(const void *one, const void *other) { return by_distance(other, one); }

/* Restores the heap, the farthest on top, below a new first one. */
static void sink(struct near *at, size_t count)
{
    struct near one = at[0];
    size_t place = 0;
    for (size_t below; (below = 2 * place + 1) < count; place = below) {
        if (below + 1 < count && by_distance(&at[below + 1], &at[below]) > 0)
            below++;
        if (by_distance(&at[below], &one) <= 0)
            break;
        at[place] = at[below];
    }
    at[place] = one;
}

bool nearest_take(struct nearest *nearest, double distance, int64_t id)
{
    struct near one = {isnan(distance) ? INFINITY : distance, id};
    if (nearest->is_full) {
        if (by_distance(&one, &nearest->at[0]) < 0) {
            nearest->at[0] = one;
            sink(nearest->at, nearest->count);
        }
        return true;
    }
    if (nearest->count == nearest->room) {
        size_t room = nearest->room ? 2 * nearest->room : 128;
        struct near *at = realloc(nearest->at, room * sizeof *at);
        if (!at)
            return false;
        nearest->at = at;
        nearest->room = room;
    }
    nearest->at[nearest->count++] = one;
    nearest->is_full = (uint64_t)nearest->count == (uint64_t)nearest->wanted;
    if (nearest->is_full)
        qsort(nearest->at, nearest->count, sizeof one, farthest_first); /* which is a heap */
    return true;
}

void nearest_sort(struct nearest *nearest)
{
    if (nearest->count)
        qsort(nearest->at, nearest->count, sizeof *nearest->at, by_distance);
}

void nearest_free(struct nearest *nearest)
{
    free(nearest->at);
    *nearest = (struct nearest){0};
}
