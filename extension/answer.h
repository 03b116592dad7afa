/* The table that a call is answered with. */

#ifndef SQLRAG_ANSWER_H
#define SQLRAG_ANSWER_H

#include "bytes.h"

struct answer {
    struct bytes body;
    unsigned columns;
    uint32_t rows;
    uint32_t *places; /* where in the body each value begins, row by row */
};

/* Takes a copy of a table; false if it is none (`reader->wrong`) or memory is short. */
bool answer_take(struct answer *answer, struct reader *reader);
struct value answer_value(const struct answer *answer, uint32_t row, unsigned column);
void answer_free(struct answer *answer);

#endif
