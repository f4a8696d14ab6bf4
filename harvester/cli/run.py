"""``harvester run``: harvest; the same command again resumes."""

from __future__ import annotations

import asyncio
import gc
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from harvester.cli.common import Common
from harvester.cli.early_stop import CODES, is_early, numbers, outlive_terminal, unwinding
from harvester.cli.frame import show_json, verb
from harvester.cli.options import build_job, limit_options, output_options, selection_options, source_options
from harvester.errors import StoppedError
from harvester.redact import MASK, redact_text

if TYPE_CHECKING:
    from harvester.engine import StopSwitch


@verb(
    "run",
    example=(
        "harvester run https://gis.example.org/arcgis/rest/services/Streets/MapServer -o streets.mbtiles --lods 0-9\n"
        "harvester run streets.toml"
    ),
    opens_late=True,
)
@click.argument("target", metavar="JOB.toml|SOURCE")
@output_options
@selection_options
@limit_options
@source_options
@click.option(
    "--progress",
    type=click.Choice(["bar", "json", "none"]),
    default=None,
    help="bar on a terminal; json: a line a second on stderr, notices and summary too.",
)
@click.option("-n", "--dry-run", is_flag=True, help="The same as plan.")
def command(common: Common, target: str, progress: str | None, dry_run: bool, **options: Any) -> int:
    """Harvest the tiles of a job file or a source; the same command again resumes."""
    job = build_job(target, options)
    common.keep_log_from(job.output)
    if dry_run:
        from harvester.cli.plan import show_plan

        return show_plan(job, common, sample=None)
    from harvester.cli.progress import reporter
    from harvester.engine import StopSwitch
    from harvester.events import Notice
    from harvester.loop import run_loop

    from harvester.assemble.run import harvest_job  # isort: skip

    switch = StopSwitch()
    with reporter(progress, quiet=common.quiet, json=common.json) as emit:

        async def work() -> Any:
            with stopping_on_signals(switch, lambda text: emit(Notice(text=text))):
                return await harvest_job(job, emit=emit, switch=switch, disk=_disk(), command=shown(common.arguments))

        gc.freeze()  # what was imported stays: no look for cycles needs to walk it
        try:
            report = run_loop(work())
        except asyncio.CancelledError:
            if switch.reason is None:
                raise
            # Stopped before the first tile request: there is no state to save, and no file is left.
            raise StoppedError(
                switch.reason.message, hint="Nothing was fetched yet.", exit_code=switch.reason.exit_code
            ) from None
    if common.json:
        show_json(report.to_dict())
    code: int = report.exit_code
    return code


def shown(arguments: Sequence[str]) -> str:
    """The command as typed, to be shown with one more option; the values of headers and what is secret in addresses
    are masked."""
    words = []
    is_header = False
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--header=") else ("", "", argument)
        if is_header or equals:
            value = f"{value.partition(':')[0]}: {MASK}" if ":" in value else MASK
        words.append(redact_text(option + equals + value))
        is_header = argument == "--header"
    return shlex.join(["harvester", *words])


def _disk() -> Any:
    """File operations; a crash test counts them and dies at the one that HARVESTER_CRASH_AT names."""
    import os

    if "HARVESTER_CRASH_AT" in os.environ:
        from harvester.testing.crash import crashing_disk

        return crashing_disk()
    return None


@contextmanager
def stopping_on_signals(switch: StopSwitch, tell: Callable[[str], None]) -> Iterator[None]:
    """SIGINT, SIGBREAK and SIGTERM stop the run in order; a second one at once. ``tell`` hears what that means. A
    terminal that is closed stops nothing."""
    from harvester.engine import StopReason
    from harvester.loop import heed

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def end() -> None:
        task.cancel()

    switch.on_early = end
    outlive_terminal()
    before = {}
    for number, name in numbers().items():
        earlier = signal.getsignal(number)
        before[number] = unwinding if is_early(earlier) else earlier
        reason = StopReason.signal(name, CODES[name])

        def press(number: int, frame: Any, *, reason: StopReason = reason) -> None:
            loop.call_soon_threadsafe(lambda: tell(switch.press(reason)))

        # Python's own, not the loop's: whoever removes that leaves the system's for a moment, which ends all.
        signal.signal(number, press)
    try:
        yield
    finally:
        for number, handler in before.items():
            heed(number, handler)
