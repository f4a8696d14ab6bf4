"""Names on the map."""

from __future__ import annotations

from harvester.demo.labels import lettering
from harvester.demo.schemes import MERCATOR
from harvester.demo.topology import coarse_world
from harvester.lettering import spelling


def test_every_name_of_the_data_has_letters_for_all_its_signs() -> None:
    world = coarse_world()
    names = [label.name for label in world.labels] + [city.name for city in world.cities]
    assert [name for name in names if "?" in spelling(name).letters] == []


def test_no_two_names_of_a_level_touch() -> None:
    for level in (2, 5, 7):
        texts = lettering(coarse_world(), MERCATOR, level, float(level), 1).texts
        assert len(texts) > 10
        boxes = [text.box for text in texts]
        for i, (a0, b0, a1, b1) in enumerate(boxes):
            for c0, d0, c1, d1 in boxes[:i]:
                assert a1 < c0 or c1 < a0 or b1 < d0 or d1 < b0
