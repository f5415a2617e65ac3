"""Records that nobody thought of, generated: bytes, JSON of any shape, and events that are wrong in some way."""

import json
from typing import Any, Final

from hypothesis import strategies as st

from demo.records import Headers
from schemas import headers

Generated = tuple[bytes | None, bytes | None, Headers]
"""Key, value and headers. None has an event id of its own: their coordinates tell them apart."""

_FIELDS: Final = ("occurred_at", "source", "text", "rating", "customer_id", "product", "language", "metadata", "other")
# Characters that have broken a pipeline somewhere: NUL, half of a pair, directions, combining marks, separators.
_AWKWARD: Final = "\x00\ud800\udfff\u202e\u0301\u2028\ufeff\U0001f600\x1b\x7f\"\\'{}%"

_text = st.text(st.one_of(st.characters(), st.sampled_from(_AWKWARD)), max_size=60)
_numbers = st.one_of(
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.sampled_from((2**53, 2**53 + 1, -(2**63), 1e308, 5e-324, -0.0)),
)
_scalars = st.one_of(st.none(), st.booleans(), _numbers, _text)
_json = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(_text, inner, max_size=5)),
    max_leaves=12,
)
_event = st.fixed_dictionaries(
    {
        "occurred_at": st.one_of(
            st.datetimes().map(lambda at: f"{at.isoformat()}Z"), st.just("2026-11-01T00:00:00+14:00")
        ),
        "source": st.sampled_from(("web", "email", "app_store")),
        "text": st.text(st.one_of(st.characters(), st.sampled_from(_AWKWARD)), min_size=1, max_size=200),
    },
    optional={
        "rating": st.integers(1, 5),
        "customer_id": st.text(min_size=1, max_size=20),
        "metadata": st.dictionaries(_text, _scalars, max_size=6),
        "other": _json,
    },
)
_odd_event = st.tuples(_event, st.sampled_from(_FIELDS), _json).map(lambda given: {**given[0], given[1]: given[2]})


def _encode(value: Any) -> bytes:
    # Escaped: half of a surrogate pair has no UTF-8 form. Infinities and NaN go out as Python writes them.
    return json.dumps(value).encode()


def _damage(given: tuple[bytes, int, bytes]) -> bytes:
    value, at, inserted = given
    at %= len(value) + 1
    return value[:at] + inserted + value[at + len(inserted) // 2 :]


_values = st.one_of(
    st.none(),
    st.binary(max_size=200),
    _json.map(_encode),
    st.tuples(_event.map(_encode), st.integers(0, 10_000), st.binary(max_size=6)).map(_damage),
)
_header_values = st.one_of(st.none(), st.binary(max_size=20))
_headers = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from((headers.SCHEMA_VERSION, headers.TRACESTATE, headers.EVENT_ID, headers.CONTENT_TYPE)),
            st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=10),
        ),
        _header_values,
    ),
    max_size=3,
).map(tuple)
_keys = st.one_of(st.none(), st.binary(max_size=12), st.sampled_from((b"customer-1", b"customer-2")))


def generated_records(count: int) -> st.SearchStrategy[list[Generated]]:
    """Lists of so many records. In about half of them a valid event is wrong in one field at most."""
    events = st.one_of(_event, _odd_event).map(_encode)
    return st.lists(st.tuples(_keys, st.one_of(_values, events), _headers), min_size=count, max_size=count)
