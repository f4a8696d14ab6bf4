"""``harvester demo``: a small real harvest on an embedded tile service; needs no network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from harvester.cli.common import Common
from harvester.cli.frame import say, show, show_json, verb
from harvester.errors import UsageError

FOLDER = "harvester-demo"


@verb("demo", example="harvester demo --output demo-output")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    show_default=True,
    metavar="DIR",
    help="The folder for caches, job files and the picture.",
)
def command(common: Common, output: Path) -> int:
    """Harvest the embedded world map under a two-policy job into MBTiles and a tile package; no network is needed."""
    from harvester.assemble.run import harvest_job
    from harvester.cli.progress import reporter
    from harvester.cli.run import stopping_on_signals
    from harvester.demo.job import write_jobs
    from harvester.demo.running import running_world
    from harvester.engine import StopSwitch
    from harvester.job import Job
    from harvester.loop import run_loop

    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file", hint="Name a folder: --output DIR.")
    # The service is on this machine; a proxy that the environment names would not find it.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    reports: list[Any] = []
    switch = StopSwitch()
    with running_world() as service:
        if not common.quiet:
            say(f"a tile service of the world (Natural Earth) answers at {service.service('World')}")
        try:
            jobs = write_jobs(output, service.service("World"))
        except OSError as cause:
            raise UsageError(
                f"{output} cannot be written: {cause.strerror}", hint="Name another: --output DIR."
            ) from cause
        for path in jobs:
            job = Job.from_file(path).with_options(mode="overwrite")

            async def work(job: Job = job) -> Any:
                with stopping_on_signals(switch, say):
                    return await harvest_job(job, emit=emit, switch=switch)

            with reporter(None, quiet=common.quiet, json=common.json) as emit:
                reports.append(run_loop(work()))
            if switch.reason is not None:
                break
    picture = output / "coverage.png"
    _draw(Path(reports[0].output), picture)
    if common.json:
        show_json({"reports": [report.to_dict() for report in reports], "picture": str(picture)})
    else:
        show("")
        for path in (*(Path(report.output) for report in reports), picture, *jobs):
            show(f"{path}  ({path.stat().st_size / 1e6:,.1f} MB)" if path.exists() else f"{path}  (not there)")
        if not common.quiet:
            say(f"look at {picture}; then try: harvester info {reports[0].output}")
    code: int = max(report.exit_code for report in reports)
    return code


def _draw(cache: Path, picture: Path) -> None:
    """The picture of what the ledger of a cache says."""
    from harvester.audited import Audited
    from harvester.coverage_picture import draw_coverage
    from harvester.demo.backdrop import WorldBackdrop, demo_outlines

    with Audited(cache) as audited:
        draw_coverage(
            audited.scheme,
            audited.blocks,
            picture,
            title=cache.name,
            outlines=demo_outlines(audited.scheme.crs),
            backdrop=WorldBackdrop(audited.scheme.crs),
            attribution="Made with Natural Earth",
        )
