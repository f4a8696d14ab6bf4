"""Text on the map."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from harvester.demo.labels import lettering
from harvester.demo.lettering import spelling, text_width, write
from harvester.demo.schemes import MERCATOR
from harvester.demo.topology import coarse_world


def written(text: str) -> np.ndarray:
    image = Image.new("RGB", (120, 40), (255, 255, 255))
    write(ImageDraw.Draw(image), text, 5, 8, 14, (0, 0, 0))
    return np.asarray(image)


def test_accents_are_taken_from_their_letters() -> None:
    assert spelling("Ålesund").letters == "Alesund"
    assert [index for index, _ in spelling("Tromsø").accents] == [5]
    assert spelling("Côte d'Ivoire").letters == "Cote d'Ivoire"
    assert spelling("東京").letters == "??"


def test_an_accent_is_drawn_and_moves_no_letter() -> None:
    for bare, full in (("Ostersund", "Östersund"), ("Umea", "Umeå"), ("Tromso", "Tromsø"), ("Brasilia", "Brasília")):
        assert text_width(bare, 14) == text_width(full, 14)
        changed = (written(bare) != written(full)).any(axis=2)
        assert changed.any(), full
        assert changed.mean() < 0.02, full


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
