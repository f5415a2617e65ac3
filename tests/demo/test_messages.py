"""The messages that ship: enough of them, readable, and each with a licence that lets them ship."""

import json
import re
from collections import Counter
from importlib.resources import files
from itertools import islice

from demo.messages import endless_events, load_messages

ROWS = [json.loads(line) for line in (files("demo.data") / "messages.jsonl").read_text("utf-8").splitlines()]
ATTRIBUTION = (files("demo.data") / "ATTRIBUTION.md").read_text("utf-8")


def test_every_message_is_attributed_with_its_licence() -> None:
    table = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|.*\| ([^|]+) \|$", ATTRIBUTION, re.MULTILINE)
    stated = {(origin, licence): int(count) for origin, count, licence in table}
    assert Counter((row["origin"], row["licence"]) for row in ROWS) == stated


def test_there_are_enough_different_and_readable_messages() -> None:
    texts = [message.text for message in load_messages()]
    assert len(texts) == len(set(texts)) >= 1_500
    # What UTF-8 looks like when it was read as Latin-1, and characters that were lost.
    assert not [text for text in texts if re.search(r"[\x00-\x08\x7f-\x9f\ufffd]|[ÂÃÐÑØÙ][\x80-\xbf]", text)]


def test_each_event_has_an_id_of_its_own_even_when_its_text_comes_again() -> None:
    count = len(ROWS) + 1
    events = list(islice(endless_events(), count))
    assert events[0].text == events[-1].text
    assert len({event.event_id for event in events}) == count
