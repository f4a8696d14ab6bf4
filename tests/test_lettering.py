"""Text in pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from harvester.lettering import spelling, text_width, write


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
