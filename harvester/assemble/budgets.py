"""A job's budgets (tiles, bytes, time) over a run in two parts."""

from __future__ import annotations

from dataclasses import replace

from harvester.engine import Outturn, StopReason, Tally
from harvester.job import Limits


def limits_left(limits: Limits, tally: Tally, seconds: float) -> Limits | StopReason:
    """What is left of a job's budgets after a part of its run that took ``seconds``, or which one is used up."""
    tiles, most_bytes, duration = limits.max_tiles, limits.max_bytes, limits.max_duration_seconds
    if tiles is not None and tiles <= tally.fetched:
        return StopReason.budget("--max-tiles", str(tiles))
    if most_bytes is not None and most_bytes <= tally.bytes:
        return StopReason.budget("--max-bytes", str(most_bytes))
    if duration is not None and duration <= seconds:
        return StopReason.budget("--max-duration", f"{duration:g} s")
    return replace(
        limits,
        max_tiles=None if tiles is None else tiles - tally.fetched,
        max_bytes=None if most_bytes is None else most_bytes - tally.bytes,
        max_duration_seconds=None if duration is None else duration - seconds,
    )


def after(first: Outturn, then: Outturn, limits: Limits) -> Outturn:
    """How a run in two parts ended: as its second part, with what the first one had to tell. ``limits``: of both."""
    stop = then.stop
    if stop is not None and stop.code == "budget":
        duration = f"{limits.max_duration_seconds or 0:g} s"
        for option, value in (
            ("--max-tiles", str(limits.max_tiles)), ("--max-bytes", str(limits.max_bytes)), ("--max-duration", duration)
        ):  # fmt: skip
            if option in stop.message:
                stop = StopReason.budget(option, value)
    known = {repeat.hash for repeat in then.repeats}
    return replace(
        then,
        stop=stop,
        repeats=(*(repeat for repeat in first.repeats if repeat.hash not in known), *then.repeats),
        notices=tuple(dict.fromkeys((*first.notices, *then.notices))),
    )
