"""The entry point: finds the verb, imports only that, and turns whatever ends a command into lines, JSON and an exit
code."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from harvester.cli.early_stop import over, stopped, watch
from harvester.version import __version__

VERBS = {
    "scales": "the LODs of a service (of each tiled layer, for a web map)",
    "plan": "what a run would fetch: tiles per LOD, bytes, time; nothing is written",
    "run": "harvest; the same command again resumes",
    "verify": "is every planned tile there and sound?",
    "holes": "failed and pending tiles as polygons, usable as the next AOI",
    "why": "which policy planned this tile, what was asked, what came, why it is or isn't there",
    "report": "what the last (or any earlier) run did: text, JSON, HTML",
    "info": "what a cache holds",
    "tile": "one tile to stdout or a file, its headers and verdict on stderr",
    "convert": "any cache to any other format that can hold it",
    "merge": "join caches of one tiling scheme",
    "diff": "the tiles that differ, as a cache of their own",
    "apply": "bring OLD to NEW",
    "export": "Esri's ExportMapServerCache, parameter for parameter",
    "demo": "a small real harvest on an embedded tile service; needs no network",
}
"""Verbs in the order of the help; each is ``harvester.cli.<verb>:command``, imported when it is called."""

COMMAND_COLLECTS_EVERY = 100_000
"""Objects between two looks for cycles. What is imported, 85,000 objects for ``run``, makes none that go away, and to
look for them at Python's 700 (2,000 from 3.13 on), and once more at the end, was a fifth of a small command's CPU time.
"""


def open_closed_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr (``>&-``, some schedulers) empty ones: the next
    file opened, a cache, would take their number and get whatever is printed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            while os.open(os.devnull, os.O_RDWR) < number:
                pass
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    watch()
    arguments = sys.argv[1:] if argv is None else argv
    open_closed_streams()
    if arguments in (["--version"], ["-V"]):
        # Before any import: asking for the version costs little more than starting Python.
        sys.stdout.write(f"harvester {__version__}\n")
        raise SystemExit(0)
    gc.set_threshold(COMMAND_COLLECTS_EVERY)
    # numpy's linear algebra, which nothing here calls, would start a thread a core: a third of what its import costs.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from harvester.cli.frame import run

    try:
        code = run(arguments, VERBS)
        over(code)
    except KeyboardInterrupt as error:  # on the way out, when nothing is open any more
        code = stopped(error)
        over(code)
    gc.freeze()
    raise SystemExit(code)
