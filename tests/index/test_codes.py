"""The code of a query's vector is the one that the same vector gets when it is stored."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sqlrag.store.precision import Codes

CODES = Codes(384)
STEP = np.float32(1 / CODES.scale)


@settings(max_examples=300, deadline=None)
@given(arrays.arrays(np.float32, 384, elements=st.floats(-1, 1, width=32)), st.booleans())
def test_a_query_is_encoded_as_a_stored_vector(vector, halves):
    """Also where a number lies half-way between two codes, and beyond the largest."""
    if halves:
        vector = (np.round(vector / STEP) + np.float32(0.5)) * STEP
    assert CODES.encode_query(vector.tobytes()) == CODES.encode(vector).tobytes()
