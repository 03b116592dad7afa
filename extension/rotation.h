/* The rotation that spreads what a vector says evenly over its numbers, before their signs become its code.

   Four times, some signs are flipped and a Walsh-Hadamard transform adds and subtracts, in float32 and in a fixed order,
   so that numpy (sqlrag/store/codes/quantization.py) finds the same bits: nothing may be contracted to a fused
   multiplication and addition (-ffp-contract=off). */

#ifndef SQLRAG_ROTATION_H
#define SQLRAG_ROTATION_H

#include <stddef.h>

/* Rotates a vector in place. It becomes longer, the same factor for all vectors of a dimension. */
void rotate(float *vector, size_t dimension);

#endif
