"""What a table of a fixed size still knows."""

from __future__ import annotations

import random

from harvester.caches.remembered import Remembered


def test_what_is_found_is_what_was_added_last_under_that_hash() -> None:
    table, last = Remembered(64), {}
    draw = random.Random(1)
    for _ in range(5000):
        name = draw.getrandbits(64)
        if draw.random() < 0.3 and last:
            name = draw.choice(list(last))
        found = table.find(name)
        assert found is None or found == last[name]
        last[name] = (draw.getrandbits(38), draw.randint(1, 1 << 24))
        table.add(name, *last[name])
        assert table.find(name) == last[name]


def test_what_repeats_stays_while_others_pass_by() -> None:
    table = Remembered(1 << 10)
    table.add(5, 77, 12)
    for number in range(10_000):
        table.add(hash((number, "passes")) & 0xFFFFFFFFFFFFFFFF, number, 9)
        assert number % 50 or table.find(5) in ((77, 12), None)
        if number % 50 == 0 and table.find(5) is None:
            table.add(5, 77, 12)
    assert table.find(5) == (77, 12)


def test_a_place_too_far_off_is_not_remembered_wrongly() -> None:
    table = Remembered(4)
    table.add(1, 1 << 39, 5)
    table.add(2, 5, 1 << 25)
    assert table.find(1) is None
    assert table.find(2) is None
