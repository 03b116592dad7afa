/* One pass over blocks of codes, on all processors where there is enough to share. */

#ifndef SQLRAG_PASS_H
#define SQLRAG_PASS_H

#include "ids.h"
#include "kernels.h"
#include "memory.h"
#include "nearest.h"

struct pass {
    kernel *kernel;
    struct planes planes;
    const struct ids *ids; /* NULL: all */
};

/* Takes the blocks' nearest codes in, with the estimate, its sign turned, for a distance. False if memory is short. */
bool pass_run(const struct pass *pass, const struct blocks *blocks, struct nearest *nearest);

#endif
