/* The table of an index's codes, read as it lies: one bit for each dimension of the rotated vectors (planes.c).

       first_id INTEGER PRIMARY KEY, stamp INTEGER, ids BLOB, factors BLOB, codes BLOB

   Each row is a block of codes with the chunks' ids, int64, and what their estimates are multiplied with, float32; a
   code's bits in words of 64, the lowest bit first; all little-endian. Whoever writes a block gives it a new stamp, a
   random number, so one that was read under its stamp may be kept (memory.h). A file may come from a stranger: every
   length is checked. */

#ifndef SQLRAG_CODES_H
#define SQLRAG_CODES_H

#include "memory.h"
#include "nearest.h"
#include "pass.h"
#include "source.h"

/* Takes in the nearest of a table's codes. A result code. */
int codes_search(struct source *source, struct shelf *shelf, const struct pass *pass, struct nearest *nearest);

#endif
