"""A job's policies, resolved against what the services say of themselves: one exact plan for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harvester.aoi import Area, load_area, looks_swapped
from harvester.edges import ServiceInfo
from harvester.errors import UsageError
from harvester.job import Job, Policy
from harvester.planning import Plan, make_plan, select_levels
from harvester.selection import selected_here
from harvester.wording import plain_number

PLAN_LIMIT = 10_000_000
"""Tiles that a run fetches without being told that so many are meant."""


MOST_NAME = 80
"""Characters of a layer's name before what is told of it."""

HALF_WORLD = 180
"""Degrees: a box across the antimeridian that is wider is rarely meant."""

LAYERS_HINT = "harvester scales SOURCE lists the layers with their LODs and extents."


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLayer:
    """One layer's plan (of this shard) and what to tell about it; ``index`` is its place among the opened layers."""

    index: int
    info: ServiceInfo
    plan: Plan

    @property
    def notices(self) -> tuple[str, ...]:
        """What to tell of the service, the selection, the area and the plan: the plan carries all of it."""
        return self.plan.notices


def plan_layers(
    job: Job, infos: Sequence[ServiceInfo], names: Sequence[str] = ()
) -> tuple[list[PlannedLayer], list[tuple[int, str]]]:
    """The plans of all layers, and the places of the layers for which nothing is left, with the reason.

    Of several layers each takes the levels and scales that it has, and is told of by its name among ``names`` (else its
    service's). Raises UsageError when a policy, or a level or scale that it names outright, fits no layer at all, and,
    for a single layer, whatever is wrong with it.
    """
    planned: list[PlannedLayer] = []
    left_out: list[tuple[int, str]] = []
    errors: list[UsageError | None] = [None] * len(job.policies)
    fits = [False] * len(job.policies)
    nowhere: list[dict[float, UsageError] | None] = [None] * len(job.policies)
    for position, info in enumerate(infos):
        choices: list[tuple[tuple[int, ...], Area | None]] = []
        name = (names[position] if names else info.name)[:MOST_NAME] if len(infos) > 1 else ""
        notices = [*_of_layer(name, info.notices), *_wide_boxes(job.policies)]
        reason = ""
        for index, policy in enumerate(job.policies):
            try:
                if len(infos) > 1:
                    policy, missing = selected_here(info, policy)
                    nowhere[index] = _still_missing(nowhere[index], missing)
                levels, said = select_levels(info, policy)
            except UsageError as error:
                if len(infos) == 1:
                    raise
                errors[index] = errors[index] or error
                reason = error.message
                continue
            fits[index] = True
            notices += _of_layer(name, said)
            choices.append((levels, _area(info, policy, levels)))
        if not choices:
            left_out.append((position, reason))
            continue
        try:
            plan = make_plan(info, choices, use_extent=job.use_extent)
        except UsageError as error:
            if len(infos) == 1:
                raise _with_swap_hint(error, info, choices) from error
            left_out.append((position, error.message))
            continue
        for _, area in choices:
            notices += area.notices if area is not None else ()
        notices += _of_layer(name, plan.notices)
        plan = replace(plan, notices=tuple(dict.fromkeys(notices)))
        if job.shard is not None:
            plan = plan.shard(*job.shard)
        planned.append(PlannedLayer(index=position, info=info, plan=plan))
    for policy, fit, unknown, first in zip(job.policies, fits, nowhere, errors, strict=True):
        if unknown:
            raise _in_no_layer(policy, next(iter(unknown)))
        if not fit and first is not None:
            raise UsageError(f"no layer has LODs of this selection: {first.message}", hint=LAYERS_HINT, code=first.code)
    if not planned:
        raise UsageError(
            "nothing is left to plan: " + "; ".join(f"{infos[index].name}: {reason}" for index, reason in left_out),
            hint=LAYERS_HINT,
        )
    return planned, left_out


def _of_layer(name: str, notices: Sequence[str]) -> list[str]:
    """Notices of one layer, with its name where there are several."""
    return [f"{name}: {text}" if name else text for text in notices]


def _in_no_layer(policy: Policy, name: float) -> UsageError:
    """A level or scale named outright that each layer lacks: what is nearest in one of them is not what is nearest."""
    lod = f"LOD {name:.0f}" if policy.scales is None else f"a LOD at scale {plain_number(name)}"
    return UsageError(f"no layer has {lod}", hint=LAYERS_HINT, code="selection")


def _still_missing(before: dict[float, UsageError] | None, here: dict[float, UsageError]) -> dict[float, UsageError]:
    """What no layer has so far, with the error of the first one."""
    return here if before is None else {name: error for name, error in before.items() if name in here}


def _wide_boxes(policies: Sequence[Policy]) -> list[str]:
    """What to tell of boxes that cross the antimeridian and most of the world: west and east changed places, mostly."""
    told = []
    for policy in policies:
        west, south, east, north = policy.bbox or (0.0, 0.0, 0.0, 0.0)
        if west > east and (width := 360 - (west - east)) > HALF_WORLD:
            shown, meant = (
                ",".join(f"{value:g}" for value in box) for box in (policy.bbox or (), (east, south, west, north))
            )
            told.append(
                f"the box {shown} crosses the antimeridian and is {width:g} degrees wide; did you mean {meant}?"
            )
    return told


def _area(info: ServiceInfo, policy: Policy, levels: tuple[int, ...]) -> Area | None:
    finest = min(info.scheme.by_level[level].resolution for level in levels)
    return load_area(policy, info.scheme.crs, finest)


def _with_swap_hint(
    error: UsageError, info: ServiceInfo, choices: Sequence[tuple[tuple[int, ...], Area | None]]
) -> UsageError:
    if info.extent is not None and any(area and looks_swapped(area, info.extent) for _, area in choices):
        return UsageError(
            error.message,
            hint="Longitude and latitude look swapped: the mirrored AOI lies inside the service's extent.",
        )
    return error


def require_size(job: Job, plan: Plan, command: str) -> None:
    """Refuse a plan above PLAN_LIMIT that nobody has confirmed with ``--max-tiles``. Raises UsageError."""
    if job.limits.max_tiles is None and plan.total > PLAN_LIMIT:
        raise UsageError(
            f"the plan has {plan.total:,} tiles, more than {PLAN_LIMIT:,}",
            hint="Choose fewer LODs (--lods) or a smaller area (--aoi); or, if that is meant, allow it: "
            f"{command} --max-tiles {plan.total}",
            code="plan_too_large",
        )
