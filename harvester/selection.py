"""Which LODs a policy means: levels, zooms, scales and ranges of them against the LODs that a service has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from harvester.edges import ServiceInfo
from harvester.errors import UsageError
from harvester.policy import SCALE_TOLERANCE, Policy
from harvester.tiling.scheme import Lod
from harvester.wording import plain_number


def select_levels(info: ServiceInfo, policy: Policy) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The level numbers that a policy selects, coarsest first, and notices about ranges that were cut.

    *All LODs* are ``min_lod..max_lod`` when the service states both, else every LOD of its scheme; a web map layer's
    own scale range limits them only where the policy selects nothing. A range is intersected with them; a level or
    scale named outright must be among them.
    Raises UsageError (``code`` "selection") when it isn't, or when nothing is left.
    """
    lods = _all_lods(info)
    if not lods:
        raise UsageError(
            "the service has no LOD between its minLOD and maxLOD", hint="Its service document contradicts itself."
        )
    notices: list[str] = []
    if policy.lods is not None:
        wanted = _by_ranges(lods, policy.lods, notices)
    elif policy.min_zoom is not None or policy.max_zoom is not None:
        wanted = _by_zooms(lods, policy.min_zoom, policy.max_zoom, notices)
    elif policy.scales is not None:
        wanted = {_by_scale(lods, scale).level for scale in policy.scales}
    elif policy.min_scale is not None or policy.max_scale is not None:
        wanted = _by_scale_range(lods, policy.min_scale, policy.max_scale, notices)
    else:
        wanted = _by_layer(lods, info.min_scale or None, info.max_scale or None, notices)
    return tuple(lod.level for lod in lods if lod.level in wanted), tuple(notices)


def selected_here(info: ServiceInfo, policy: Policy) -> tuple[Policy, dict[float, UsageError]]:
    """A policy for one layer of several, without the levels and scales named outright that others may have and this one
    has not; and those, each with the error that it is where no layer has it.

    Where the layer has none at all, the policy stays as it is, and ``select_levels`` says why.
    """
    missing: dict[float, UsageError] = {}
    if policy.scales is not None:
        for scale in policy.scales:
            _note_missing(info, Policy(scales=(scale,)), scale, missing)
        scales = tuple(scale for scale in policy.scales if scale not in missing)
        return replace(policy, scales=scales or policy.scales), missing
    if policy.lods is not None:
        for low, high in policy.lods:
            if low == high:
                _note_missing(info, Policy(lods=((low, high),)), low, missing)
        lods = tuple(each for each in policy.lods if each[0] < each[1] or each[0] not in missing)
        return replace(policy, lods=lods or policy.lods), missing
    return policy, missing


def _note_missing(info: ServiceInfo, alone: Policy, name: float, missing: dict[float, UsageError]) -> None:
    try:
        select_levels(info, alone)
    except UsageError as error:
        missing[name] = error


def _all_lods(info: ServiceInfo) -> list[Lod]:
    if info.min_lod is None or info.max_lod is None:
        return list(info.scheme.lods)
    return [lod for lod in info.scheme.lods if info.min_lod <= lod.level <= info.max_lod]


def _by_ranges(lods: list[Lod], ranges: Iterable[tuple[int, int]], notices: list[str]) -> set[int]:
    levels = {lod.level for lod in lods}
    wanted: set[int] = set()
    for low, high in ranges:
        found = {level for level in levels if low <= level <= high}
        if low == high and not found:
            nearest = min(levels, key=lambda level: (abs(level - low), level))
            _refuse(f"the service has no LOD {low}; the nearest is {nearest}", lods)
        if len(found) < high - low + 1:
            notices.append(f"LODs {low}-{high}: {_levels_in_words(found)}")
        wanted |= found
    if not wanted:
        _refuse("the service has none of the LODs " + ", ".join(f"{a}-{b}" for a, b in ranges), lods)
    return wanted


def _by_zooms(lods: list[Lod], low: int | None, high: int | None, notices: list[str]) -> set[int]:
    levels = [lod.level for lod in lods]
    found = {level for level in levels if (low is None or level >= low) and (high is None or level <= high)}
    words = " ".join(f"--{name}-zoom {value}" for name, value in (("min", low), ("max", high)) if value is not None)
    if not found:
        _refuse(f"the service has no LOD within {words}", lods)
    if (low is not None and low < min(levels)) or (high is not None and high > max(levels)):
        notices.append(f"{words}: {_levels_in_words(found)}")
    return found


def _by_scale(lods: list[Lod], scale: float) -> Lod:
    nearest = min(lods, key=lambda lod: abs(lod.scale - scale))
    if not abs(nearest.scale - scale) <= SCALE_TOLERANCE * nearest.scale:
        _refuse(
            f"the service has no LOD at scale {plain_number(scale)}; "
            f"the nearest is LOD {nearest.level} at {plain_number(nearest.scale)}",
            lods,
        )
    return nearest


def _by_scale_range(lods: list[Lod], largest: float | None, smallest: float | None, notices: list[str]) -> set[int]:
    found = {lod.level for lod in _within(lods, largest, smallest)}
    words = " ".join(
        f"--{name}-scale {plain_number(value)}"
        for name, value in (("min", largest), ("max", smallest))
        if value is not None
    )
    if not found:
        _refuse(f"the service has no LOD within {words}", lods)
    scales = [lod.scale for lod in lods]
    beyond = largest is not None and largest > max(scales) * (1 + SCALE_TOLERANCE)
    beyond |= smallest is not None and smallest < min(scales) * (1 - SCALE_TOLERANCE)
    if beyond:
        notices.append(f"{words}: {_levels_in_words(found)}")
    return found


def _by_layer(lods: list[Lod], largest: float | None, smallest: float | None, notices: list[str]) -> set[int]:
    found = {lod.level for lod in _within(lods, largest, smallest)}
    if not found:
        _refuse("the web map shows this layer at none of its LODs", lods)
    if len(found) < len(lods):
        notices.append(
            f"the web map's own scale range limits this layer: {_levels_in_words(found)} (select LODs for others)"
        )
    return found


def _within(lods: list[Lod], largest: float | None, smallest: float | None) -> list[Lod]:
    """LODs between two scale denominators, both inclusive within the tolerance."""
    return [
        lod
        for lod in lods
        if (largest is None or lod.scale <= largest * (1 + SCALE_TOLERANCE))
        and (smallest is None or lod.scale >= smallest * (1 - SCALE_TOLERANCE))
    ]


def _levels_in_words(levels: set[int]) -> str:
    if not levels:
        return "the service has none of these"
    ranges: list[list[int]] = []
    for level in sorted(levels):
        if ranges and level == ranges[-1][1] + 1:
            ranges[-1][1] = level
        else:
            ranges.append([level, level])
    return "taken are " + ", ".join(f"{a}-{b}" if a < b else str(a) for a, b in ranges)


def _refuse(message: str, lods: list[Lod]) -> NoReturn:
    listed = ", ".join(f"{lod.level} (1:{plain_number(lod.scale)})" for lod in lods)
    raise UsageError(message, hint=f"The LODs are {listed}.", code="selection")
