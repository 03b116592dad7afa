/* The nearest of what a scan comes upon, at most so many. */

#ifndef SQLRAG_NEAREST_H
#define SQLRAG_NEAREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct near {
    double distance;
    int64_t id; /* of two that are equally far the one with the lower id is nearer */
};

struct nearest {
    struct near *at;
    size_t count, room;
    int64_t wanted; /* from 1 */
    bool is_full;   /* so many are there, and the first one is the farthest: what is farther need not be taken */
};

/* Takes one in if it is among the nearest. What is no number is infinitely far. False if memory is short. */
bool nearest_take(struct nearest *nearest, double distance, int64_t id);

/* Puts them in order, the nearest first; nothing can be taken in after. */
void nearest_sort(struct nearest *nearest);
void nearest_free(struct nearest *nearest);

#endif
