"""What is known of contents, in memory and in scratch files, against a dictionary."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from harvester.caches.known import Filter, Known, as_ints
from harvester.caches.known_files import STEP, KnownFiles

LARGEST = (1 << 64) - 1


def names(draw: random.Random, count: int) -> list[int]:
    """Hashes, of which some clash, and the two that bound them."""
    return [draw.choice((0, LARGEST, draw.getrandbits(64), draw.getrandbits(6))) for _ in range(count)]


@pytest.mark.parametrize("most", [7, 300, 3000])
def test_every_place_of_every_hash_is_found_again(tmp_path: Path, most: int) -> None:
    draw = random.Random(most)
    known, model = KnownFiles(tmp_path, most=most), dict[int, list[int]]()
    for _ in range(120):
        batch = list(dict.fromkeys(names(draw, 60)))
        found = known.find(batch)
        assert {name: sorted(found.get(name, [])) for name in batch} == {
            name: sorted(model.get(name, [])) for name in batch
        }
        places = [draw.randrange(1 << 62) for _ in batch]
        known.add(batch, places)
        for name, place in zip(batch, places, strict=True):
            model.setdefault(name, []).append(place)
    known.close()
    assert list(tmp_path.iterdir()) == []


def test_one_hash_may_fill_more_than_a_step_of_a_run(tmp_path: Path) -> None:
    known = KnownFiles(tmp_path, most=4 * STEP)
    known.add([5] * (2 * STEP + 3) + [6] * 9, list(range(2 * STEP + 12)))
    known.add(list(range(7, 7 + 4 * STEP)), list(range(4 * STEP)))
    found = known.find([4, 5, 6, 7])
    assert sorted(found[5]) == list(range(2 * STEP + 3))
    assert (len(found[6]), found[7], found.get(4)) == (9, [0], None)
    known.close()


def test_what_is_taken_is_sorted_and_gone() -> None:
    known, draw = Known(), random.Random(1)
    every: list[int] = []
    for _ in range(40):
        batch = [draw.getrandbits(64) for _ in range(draw.randint(0, 50))]
        known.add(as_ints(batch), np.arange(len(batch)))
        every += batch
    taken, places = known.take()
    assert sorted(every) == sorted(taken.view(np.uint64).tolist())
    assert (np.diff(taken) >= 0).all() and len(places) == len(every)
    assert len(known) == 0 and list(known.find(as_ints(every[:5]))) == []


def test_the_filter_never_denies_what_was_added_and_denies_most_else() -> None:
    draw, some = random.Random(2), Filter(1 << 12)
    added, others = (as_ints(draw.getrandbits(64) for _ in range(1000)) for _ in range(2))
    some.add(added)
    assert some.perhaps(added).all()
    assert some.perhaps(others).mean() < 0.02
