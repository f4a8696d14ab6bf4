"""The examples as modules, and the dialog of the ArcGIS Pro tool: filled in, and read."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from harvester.testing.service import FaultyService

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

SCALES = [f"{591657527.591555 / 2**level:.6f}" for level in range(8)]


def loaded(name: str) -> Any:
    """An example as a module."""
    loader = SourceFileLoader(name.replace(".", "_"), str(EXAMPLES / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def filled(tool: Any, service: FaultyService, folder: Path, **values: Any) -> dict[str, Any]:
    """The dialog as a person fills it in, by name."""
    parameters = {parameter.name: parameter for parameter in tool.getParameterInfo()}
    given = {"input_service": service.url, "target_cache_path": str(folder), "program": sys.executable, **values}
    for name, value in given.items():
        parameters[name].value = value
    return parameters


def told(arcpy: Any, *kinds: str) -> list[str]:
    """What a person read of these kinds."""
    return [text for word, text, *_ in arcpy.said if word in kinds]
