"""JSON drawn at random."""

from __future__ import annotations

from hypothesis import strategies as st

KEYS = st.text(max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
JSON = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=5)
URLS = st.sampled_from(
    [
        "https://bucket.example/a?X-Amz-Signature=abc",
        "HTTP://b.example/",
        "  https://c.example/?s=1",
    ]
)
