"""The ArcGIS Pro tool on a stand-in for arcpy, and a service that it may ask."""

from __future__ import annotations

import sys

import pytest

from harvester.testing.service import ArcGisSite, FaultyService
from tests.export.arcpy_standin import StandIn
from tests.export.dialog import loaded


@pytest.fixture
def service():
    with FaultyService(ArcGisSite()) as running:
        yield running


@pytest.fixture
def arcpy(monkeypatch):
    standin = StandIn()
    monkeypatch.setitem(sys.modules, "arcpy", standin)
    return standin


@pytest.fixture
def tool(arcpy):
    return loaded("harvester.pyt").Toolbox().tools[0]()
