#include "nearest.h"

#include <math.h>
#include <stdlib.h>

static bool is_farther(struct near one, struct near other)
{
    return one.distance > other.distance || (one.distance == other.distance && one.id > other.id);
}

static void rise(struct near *at, size_t place)
{
    struct near one = at[place];
    for (size_t above; place && is_farther(one, at[above = (place - 1) / 2]); place = above)
        at[place] = at[above];
    at[place] = one;
}

static void sink(struct near *at, size_t count, size_t place)
{
    struct near one = at[place];
    for (size_t below; (below = 2 * place + 1) < count; place = below) {
        if (below + 1 < count && is_farther(at[below + 1], at[below]))
            below++;
        if (!is_farther(at[below], one))
            break;
        at[place] = at[below];
    }
    at[place] = one;
}

static bool is_full(const struct nearest *nearest) { return (uint64_t)nearest->count == (uint64_t)nearest->wanted; }

double nearest_bound(const struct nearest *nearest)
{
    return is_full(nearest) && nearest->count ? nearest->at[0].distance : INFINITY;
}

bool nearest_take(struct nearest *nearest, double distance, int64_t id)
{
    struct near one = {isnan(distance) ? INFINITY : distance, id};
    if (is_full(nearest)) {
        if (nearest->count && is_farther(nearest->at[0], one)) {
            nearest->at[0] = one;
            sink(nearest->at, nearest->count, 0);
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
    rise(nearest->at, nearest->count - 1);
    return true;
}

void nearest_sort(struct nearest *nearest)
{
    for (size_t left = nearest->count; left > 1; left--) {
        struct near farthest = nearest->at[0];
        nearest->at[0] = nearest->at[left - 1];
        sink(nearest->at, left - 1, 0);
        nearest->at[left - 1] = farthest;
    }
}

void nearest_free(struct nearest *nearest)
{
    free(nearest->at);
    *nearest = (struct nearest){0};
}
