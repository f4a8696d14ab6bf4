"""The world behind coverage pictures."""

from __future__ import annotations

import numpy as np

from harvester.crs import WEB_MERCATOR, WGS84, Crs, project_box
from harvester.demo import style
from harvester.demo.backdrop import WorldBackdrop, demo_outlines
from harvester.tiling.scheme import Box


def test_land_is_land_and_sea_is_sea_in_any_crs() -> None:
    for crs in (WEB_MERCATOR, WGS84, Crs(wkid=3035, latest_wkid=3035), Crs(wkid=25832, latest_wkid=25832)):
        box = Box(*project_box(Box(4.0, 50.0, 14.0, 60.0), WGS84, crs))
        height = round(200 * (box.ymax - box.ymin) / (box.xmax - box.xmin))
        pixels = np.asarray(WorldBackdrop(crs)(box, 200, height))
        assert pixels.shape == (height, 200, 3)
        colours = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
        assert style.SEA in colours, crs
        assert len(colours & set(style.LANDS)) >= 3, crs


def test_a_box_beyond_the_earth_is_drawn_without_an_error() -> None:
    far = Box(3e7, 3e7, 4e7, 4e7)
    for crs in (WEB_MERCATOR, Crs(wkid=3035, latest_wkid=3035)):
        assert WorldBackdrop(crs)(far, 40, 40).size == (40, 40)


def test_the_demo_areas_lie_where_the_demo_says() -> None:
    europe, nordic = demo_outlines(WEB_MERCATOR)
    west, south, east, north = project_box(Box(*nordic.bounds), WEB_MERCATOR, WGS84)
    assert 3 < west < 6 and 54 < south < 55 and 31 < east < 34 and 71 < north < 72
    assert europe.intersects(nordic)
