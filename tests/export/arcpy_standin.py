"""As much of arcpy as a Python toolbox touches: parameters, messages, the progressor, Cancel."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any


class ExecuteError(Exception):
    """What a tool raises to fail."""


class Filter:
    """A parameter's filter."""

    type = ""
    list: list[str]


class Parameter:
    """A tool's parameter: ``value`` as set, ``valueAsText`` as arcpy writes it, ``values`` of a multivalue one."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.name = settings["name"]
        self.filter = Filter()
        self.hasBeenValidated = True
        self.error = ""
        self._value: Any = None

    @property
    def value(self) -> Any:
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        self._value = value
        self.hasBeenValidated = False

    values = value

    @property
    def valueAsText(self) -> str | None:
        if self._value is None:
            return None
        return ";".join(self._value) if isinstance(self._value, list) else str(self._value)

    def setErrorMessage(self, text: str) -> None:
        self.error = text


class Environment:
    """``arcpy.env``; ``cancel_after``: looks at ``isCancelled`` until it is True, counted from the first tile."""

    autoCancelling = True
    cancel_after: int | None = None
    cancel_when: Callable[[], Any] | None = None
    """Says itself whether Cancel was pressed, before the first tile too."""

    def __init__(self, said: list[tuple[Any, ...]]) -> None:
        self._said = said
        self._looks = 0

    @property
    def isCancelled(self) -> bool:
        if self.cancel_when is not None:
            return bool(self.cancel_when())
        if self.cancel_after is None or not any(word == "position" for word, *_ in self._said):
            return False
        self._looks += 1
        return self._looks > self.cancel_after


class StandIn(ModuleType):
    """The module; ``said`` holds what a tool told the person, in order."""

    Parameter = Parameter
    ExecuteError = ExecuteError

    def __init__(self) -> None:
        super().__init__("arcpy")
        self.said: list[tuple[Any, ...]] = []
        self.env = Environment(self.said)
        self.layers: dict[str, Any] = {}

    def FeatureSet(self, layer: str) -> Any:
        return type("FeatureSet", (), {"JSON": json.dumps(self.layers[layer])})()

    def AddMessage(self, text: str) -> None:
        self.said.append(("message", text))

    def AddWarning(self, text: str) -> None:
        self.said.append(("warning", text))

    def AddError(self, text: str) -> None:
        self.said.append(("error", text))

    def SetProgressor(self, kind: str, label: str, low: int, high: int, step: int) -> None:
        self.said.append(("progressor", kind, low, high))

    def SetProgressorPosition(self, position: int) -> None:
        self.said.append(("position", position))

    def SetProgressorLabel(self, text: str) -> None:
        self.said.append(("label", text))
