"""``harvester plan``: what a run would fetch; nothing is written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from harvester.cli.common import Common
from harvester.cli.frame import DEFAULT_SAMPLE, say, show, show_json, verb
from harvester.cli.options import build_job, limit_options, output_options, selection_options, source_options
from harvester.errors import UsageError
from harvester.wording import counted

if TYPE_CHECKING:
    from harvester.assemble.sample import Estimate
    from harvester.job import Job

MOST_SAMPLED = 10_000
"""Tiles of each LOD: more is no sample, it is the harvest."""


@verb(
    "plan",
    example=(
        "harvester plan https://gis.example.org/arcgis/rest/services/Streets/MapServer --bbox -105.3,39.6,-104.6,40 "
        "--sample\n"
        "harvester plan streets.toml"
    ),
)
@click.argument("target", metavar="JOB.toml|SOURCE")
@output_options
@selection_options
@limit_options
@source_options
@click.option(
    "--sample",
    is_flag=False,
    flag_value=DEFAULT_SAMPLE,
    type=int,
    default=None,
    metavar="[N]",
    help="Fetch N tiles per LOD to estimate bytes and time.  [20]",
)
def command(common: Common, target: str, sample: int | None, **options: Any) -> int:
    """Show what a run would fetch: tiles per LOD, bytes, time. Nothing is written."""
    if sample is not None and not 1 <= sample <= MOST_SAMPLED:
        raise UsageError(
            f"--sample: {sample} is out of range 1-{MOST_SAMPLED}",
            hint=f"Leave N out for {DEFAULT_SAMPLE} tiles of each LOD.",
        )
    job = build_job(target, options)
    common.keep_log_from(job.output)
    return show_plan(job, common, sample=sample)


def show_plan(job: Job, common: Common, *, sample: int | None) -> int:
    """Plan a job and show it; with ``sample``, fetch so many tiles per LOD for an estimate."""
    from harvester.assemble.plan import PlannedLayer, plan_layers
    from harvester.assemble.sample import estimate
    from harvester.assemble.sources import open_job_source
    from harvester.loop import run_loop

    async def work() -> tuple[str, bool, list[tuple[str, PlannedLayer, Estimate | None]], list[tuple[str, str]]]:
        opened = await open_job_source(job)
        try:
            planned, left_out = plan_layers(
                job, [one.source.info for one in opened.layers], [one.name for one in opened.layers]
            )
            found = []
            for one in planned:
                layer = opened.layers[one.index]
                found.append((layer.name, one, await estimate(job, layer, one.plan, sample) if sample else None))
            skipped = [*opened.left_out, *((opened.layers[index].name, reason) for index, reason in left_out)]
            return opened.source, opened.is_web_map, found, skipped
        finally:
            await opened.close()

    typed, is_web_map, layers, skipped = run_loop(work())
    if not common.quiet:
        for _, one, _ in layers:
            for text in one.notices:
                say(f"note: {text}")
    if common.json:
        documents = [_document(one, guess) for _, one, guess in layers]
        if not is_web_map:
            show_json(documents[0])
            return 0
        show_json(
            {
                "source": typed,
                "planned": sum(one.plan.total for _, one, _ in layers),
                "layers": [
                    {"name": name, **document} for (name, _, _), document in zip(layers, documents, strict=True)
                ],
                "skipped": [{"name": name, "reason": reason} for name, reason in skipped],
            }
        )
        return 0
    for name, one, guess in layers:
        _show_layer(name if is_web_map else "", one, guess)
    for name, reason in skipped:
        show(f"skipped  {name}: {reason}")
    _compare_with_disk(job, [guess for _, _, guess in layers])
    return 0


def _document(one: Any, guess: Estimate | None) -> dict[str, Any]:
    return {
        "source": one.info.source,
        "planned": one.plan.total,
        "lods": [{"level": lod.level, "scale": lod.scale, "planned": lod.planned} for lod in one.plan.lods],
        "estimate": None
        if guess is None or _is_in_vain(guess)
        else {
            "bytes": guess.bytes,
            "bytes_low": guess.bytes_low,
            "bytes_high": guess.bytes_high,
            "seconds": round(guess.seconds, 1),
            "seconds_low": round(guess.seconds_low, 1),
            "seconds_high": None if math.isinf(guess.seconds_high) else round(guess.seconds_high, 1),
        },
    }


def _show_layer(name: str, one: Any, guess: Estimate | None) -> None:
    from harvester.cli.tables import duration, size, table

    if name:
        show(f"{name}  ({one.info.source})")
    rows = [[lod.level, lod.scale, lod.planned] for lod in one.plan.lods if lod.planned]
    show(table(["LOD", "scale 1:", "tiles"], [*rows, ["all", "", one.plan.total]]))
    if idle := [str(lod.level) for lod in one.plan.lods if not lod.planned]:
        show(f"without a tile: LOD {', '.join(idle)}")
    if guess is None:
        show("bytes and time: add --sample to measure them on real tiles")
    elif _is_in_vain(guess):
        show(
            f"bytes and time: unknown, none of {counted(guess.failed, 'sampled tile')} could be had ({guess.trouble}); "
            "look at one with harvester tile"
        )
    else:
        show(
            f"about {size(guess.bytes)} (between {size(guess.bytes_low)} and {size(guess.bytes_high)}), "
            f"about {duration(guess.seconds)} ({_between(guess)}), from {counted(guess.sampled, 'sampled tile')}"
        )
        if guess.failed:
            show(f"{guess.failed:,} of the sampled tiles could not be had ({guess.trouble})")
    show("")


def _is_in_vain(guess: Estimate) -> bool:
    """True where no sampled tile came: that says nothing of the others' bytes and time."""
    return guess.failed > 0 and guess.sampled == 0


def _between(guess: Estimate) -> str:
    from harvester.cli.tables import duration

    if math.isinf(guess.seconds_high):
        return "no sampled tile answered"
    return f"between {duration(guess.seconds_low)} and {duration(guess.seconds_high)}"


def _compare_with_disk(job: Job, guesses: list[Estimate | None]) -> None:
    if job.output is None:
        return
    from harvester.cli.tables import size
    from harvester.durable import Disk

    free = Disk().free_bytes(job.output)
    high = sum(guess.bytes_high for guess in guesses if guess is not None)
    if high > free:
        say(
            f"warning: the disk of {job.output} has {size(free)} free, less than the {size(high)} that this may need\n"
            "Choose another disk, fewer LODs or a smaller AOI."
        )
