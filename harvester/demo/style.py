"""How the world map looks: colours, line widths, names of seas; and the 256 colours that every tile's PNG shares."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[int, int, int]

SEA: Rgb = (178, 208, 222)
SHELF: tuple[Rgb, ...] = ((188, 215, 227), (198, 222, 232), (209, 229, 236))
"""The sea near a coast, from the outer to the inner band."""
GRATICULE: Rgb = (164, 197, 213)
LANDS: tuple[Rgb, ...] = (
    (241, 233, 210),
    (226, 232, 203),
    (244, 223, 196),
    (233, 221, 222),
    (247, 240, 192),
    (220, 229, 221),
    (237, 214, 190),
    (248, 250, 250),
)
"""By a polygon's colour number; the last is Antarctica."""
LAND_GRATICULE: Rgb = (225, 216, 196)
WATER: Rgb = (186, 213, 226)
RIVER: Rgb = (148, 187, 209)
COAST: Rgb = (104, 138, 157)
BORDER: Rgb = (160, 132, 124)
NAME: Rgb = (74, 66, 60)
NAME_HALO: Rgb = (250, 246, 236)
CITY: Rgb = (58, 54, 52)
SEA_NAME: Rgb = (92, 134, 163)

BASES: tuple[Rgb, ...] = (SEA, *SHELF, GRATICULE, *LANDS, WATER, RIVER, COAST, BORDER, LAND_GRATICULE)
"""What shapes are drawn in; an index into this is a pixel until anti-aliasing."""

COAST_INDEX, BORDER_INDEX = BASES.index(COAST), BASES.index(BORDER)
WATER_INDEX, RIVER_INDEX, GRATICULE_INDEX = BASES.index(WATER), BASES.index(RIVER), BASES.index(GRATICULE)
LAND_GRATICULE_INDEX = BASES.index(LAND_GRATICULE)
LAND_INDEX = BASES.index(LANDS[0])

PALETTE_COLOURS = 256
LUT_BITS = 5
"""Bits of each channel that choose a palette colour: 32,768 cells."""


class Sea(NamedTuple):
    """A sea's name where it is written, from which web-mercator zoom to which, and its size in pixels."""

    name: str
    lon: float
    lat: float
    first_zoom: int
    last_zoom: int
    size: int


SEAS: tuple[Sea, ...] = (
    Sea("PACIFIC\nOCEAN", -140, 5, 1, 5, 15),
    Sea("PACIFIC\nOCEAN", 165, 12, 2, 5, 15),
    Sea("ATLANTIC\nOCEAN", -38, 24, 2, 6, 15),
    Sea("ATLANTIC\nOCEAN", -16, -24, 2, 6, 15),
    Sea("INDIAN\nOCEAN", 78, -22, 1, 6, 15),
    Sea("SOUTHERN OCEAN", 30, -62, 2, 5, 13),
    Sea("ARCTIC OCEAN", -150, 79, 2, 5, 13),
    Sea("Mediterranean Sea", 18.2, 34.4, 4, 6, 13),
    Sea("Black Sea", 34, 43.3, 4, 6, 13),
    Sea("North Sea", 3.2, 56.4, 4, 7, 13),
    Sea("Baltic Sea", 18.9, 56.2, 5, 7, 13),
    Sea("Gulf of\nBothnia", 19.4, 61.4, 5, 8, 12),
    Sea("Norwegian Sea", 4.5, 67.2, 4, 7, 13),
    Sea("Barents Sea", 38, 73.5, 4, 6, 13),
    Sea("Skagerrak", 9.2, 58.15, 6, 8, 12),
    Sea("Kattegat", 11.4, 56.9, 6, 8, 12),
    Sea("Gulf of Finland", 25.6, 59.85, 6, 8, 12),
    Sea("Caribbean Sea", -75, 14.8, 4, 6, 13),
    Sea("Gulf of Mexico", -90, 25.2, 4, 6, 13),
    Sea("Bay of Bengal", 88, 14.5, 4, 6, 13),
    Sea("Arabian Sea", 64, 15, 4, 6, 13),
    Sea("South\nChina Sea", 114, 13.5, 4, 6, 13),
    Sea("Tasman Sea", 160, -39, 3, 6, 13),
    Sea("Coral Sea", 153, -17, 4, 6, 13),
    Sea("Bering Sea", -178, 58.5, 4, 6, 13),
    Sea("Hudson Bay", -86, 59.5, 4, 6, 13),
    Sea("Bay of\nBiscay", -5.2, 45.3, 5, 6, 12),
)

TOWNS: tuple[tuple[str, float, float], ...] = (
    ("Göteborg", 11.967, 57.707),
    ("Bergen", 5.324, 60.393),
    ("Trondheim", 10.395, 63.430),
    ("Tromsø", 18.956, 69.649),
    ("Stavanger", 5.733, 58.970),
    ("Malmö", 13.004, 55.605),
    ("Tampere", 23.761, 61.498),
    ("Turku", 22.267, 60.452),
    ("Oulu", 25.466, 65.012),
    ("Aarhus", 10.204, 56.163),
    ("Uppsala", 17.639, 59.859),
    ("Umeå", 20.263, 63.826),
    ("Luleå", 22.155, 65.585),
    ("Bodø", 14.405, 67.280),
    ("Kiruna", 20.226, 67.856),
    ("Rovaniemi", 25.729, 66.503),
    ("Östersund", 14.636, 63.177),
    ("Sundsvall", 17.307, 62.391),
    ("Jyväskylä", 25.747, 62.243),
    ("Kuopio", 27.678, 62.892),
    ("Vaasa", 21.616, 63.096),
    ("Örebro", 15.213, 59.275),
    ("Kristiansand", 7.996, 58.147),
    ("Ålesund", 6.155, 62.472),
    ("Hammerfest", 23.682, 70.663),
    ("Kirkenes", 30.046, 69.727),
    ("Narvik", 17.427, 68.438),
    ("Kajaani", 27.728, 64.227),
    ("Odense", 10.388, 55.403),
    ("Aalborg", 9.922, 57.048),
    ("Linköping", 15.621, 58.411),
    ("Kalmar", 16.357, 56.663),
    ("Falun", 15.631, 60.607),
    ("Lillehammer", 10.466, 61.115),
    ("Joensuu", 29.763, 62.601),
    ("Visby", 18.295, 57.641),
    ("Mo i Rana", 14.143, 66.313),
    ("Ivalo", 27.540, 68.660),
    ("Alta", 23.272, 69.969),
)
"""Towns of the region that the demo goes into (longitude and latitude), the larger first."""


def graticule_step(zoom: float) -> int:
    """Degrees between the lines of the graticule."""
    return 30 if zoom < 3 else 10 if zoom < 5.5 else 5 if zoom < 7.5 else 1


@lru_cache(maxsize=1)
def palette() -> NDArray[np.uint8]:
    """The 256 colours of every tile: the bases first, then what anti-aliasing mixes of them; shape (256, 3)."""
    fills = (SEA, *SHELF, *LANDS, WATER)
    colours: dict[Rgb, None] = dict.fromkeys(BASES)
    colours |= dict.fromkeys((NAME, NAME_HALO, CITY, SEA_NAME))
    for share in (0.5, 0.25, 0.75):
        for line in (COAST, NAME_HALO, BORDER, SEA_NAME, NAME, RIVER, CITY):
            for fill in (NAME_HALO, *fills) if line in (NAME, CITY) else fills:
                colours[_mix(line, fill, share)] = None
    first = list(colours)[:PALETTE_COLOURS]
    table: NDArray[np.uint8] = np.array(first + [SEA] * (PALETTE_COLOURS - len(first)), dtype=np.uint8)
    return table


@lru_cache(maxsize=1)
def nearest() -> NDArray[np.uint8]:
    """Palette index by colour cut to LUT_BITS a channel; shape (32768,). The bases stand for themselves."""
    colours = palette().astype(np.float32)
    size = 1 << LUT_BITS
    steps = (np.arange(size, dtype=np.float32) + 0.5) * (256 / size)
    green, blue = (grid.reshape(-1, 1) for grid in np.meshgrid(steps, steps, indexing="ij"))
    table = np.empty((size, size * size), dtype=np.uint8)
    for i, red in enumerate(steps):
        distance = (red - colours[:, 0]) ** 2 * 2 + (green - colours[:, 1]) ** 2 * 4 + (blue - colours[:, 2]) ** 2 * 3
        table[i] = distance.argmin(axis=1)
    flat: NDArray[np.uint8] = table.reshape(-1)
    bases = colours[: len(BASES)].astype(np.int64)
    flat[lut_cells(bases[:, 0], bases[:, 1], bases[:, 2])] = np.arange(len(BASES))
    return flat


def lut_cells(red: NDArray[np.int64], green: NDArray[np.int64], blue: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in ``nearest`` a colour lies."""
    cut = 8 - LUT_BITS
    return ((red >> cut) << 2 * LUT_BITS) | ((green >> cut) << LUT_BITS) | (blue >> cut)


def _mix(one: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a * share + b * (1 - share)) for a, b in zip(one, other, strict=True))
    return red, green, blue
