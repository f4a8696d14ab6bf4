"""Progress for people (a line that moves on a terminal, a line every ten seconds elsewhere) and for programs (JSON
lines)."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harvester.cli.frame import say
from harvester.events import Event, Finished, Notice, Progress, Started, TileFailed
from harvester.redact import redact_text
from harvester.report import Report, WebMapReport
from harvester.wording import counted, with_detail

PLAIN_SECONDS = 10.0
"""Between two lines where there is no terminal (a log, a mail from cron)."""

BAR = 20
"""Characters of the bar, without its ends."""

NOT_ALL = 0.999
"""No more is shown before a run is done."""

log = logging.getLogger("harvester.run")


@contextmanager
def reporter(wanted: str | None, *, quiet: bool, json: bool) -> Iterator[Callable[[Event], None]]:
    """Gives the function that takes a run's events and shows them as ``--progress`` says."""
    if wanted is None:
        wanted = "none" if quiet else "bar" if sys.stderr.isatty() else "plain"
    if wanted == "json":
        yield _log_too(JsonLines())
        return
    shown = People(
        moving=wanted == "bar" and sys.stderr.isatty(), progress=wanted != "none", quiet=quiet, summary=not json
    )
    try:
        yield _log_too(shown)
    finally:
        shown.clear()


def _log_too(show: Callable[[Event], None]) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        if isinstance(event, Notice):
            log.info("%s", event.text)
        elif isinstance(event, Started):
            log.info("started %s -> %s: %s", event.source, event.output, event.counts._asdict())
        elif isinstance(event, TileFailed):
            log.warning("tile %s failed: %s", event.tile, with_detail(event.reason, event.detail))
        elif isinstance(event, Progress):
            log.debug("%s", event.counts._asdict())
        elif isinstance(event, Finished) and isinstance(event.report, Report):
            log.info("finished with %d: %s", event.report.exit_code, event.report.counts._asdict())
        show(event)

    return emit


class JsonLines:
    """One JSON line a second on stderr; notices, failed tiles and the summary as such lines too."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._line("notice", text=redact_text(event.text))
        elif isinstance(event, Started):
            self._line("started", source=event.source, output=event.output, **event.counts._asdict())
        elif isinstance(event, Progress):
            self._line(
                "progress", **event.counts._asdict(), ended=event.ended, requests=event.requests, retries=event.retries,
                throttled=event.throttled, bytes=event.bytes, seconds=round(event.seconds, 3),
                tiles_per_second=round(event.tiles_per_second, 1),
                eta_seconds=None if event.eta_seconds is None else round(event.eta_seconds),
                concurrency=event.concurrency, paused_seconds=round(event.paused_seconds, 1),
                asking=redact_text(event.asking), is_last=event.is_last,
            )  # fmt: skip
        elif isinstance(event, Finished):
            report = event.report
            assert isinstance(report, Report | WebMapReport)
            self._line("summary", **report.to_dict())

    def _line(self, type: str, **values: object) -> None:
        say(json.dumps({"type": type, **values}, ensure_ascii=True, allow_nan=False))


class People:
    """Lines for a person on stderr."""

    def __init__(self, *, moving: bool, progress: bool, quiet: bool, summary: bool) -> None:
        self._moving = moving
        self._progress = progress
        self._quiet = quiet
        self._summary = summary
        self._shown = ""
        self._asking = False
        """What was shown last is asked when all tiles have an end."""
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            if not self._quiet:
                self._line(f"note: {redact_text(event.text)}")
        elif isinstance(event, Started):
            self._asking = False
            if self._progress:
                counts = event.counts
                kept = (
                    f", {counts.planned - counts.pending:,} of them done before"
                    if counts.planned > counts.pending
                    else ""
                )
                self._line(f"{counted(counts.planned, 'tile')} planned{kept}  {event.source} -> {event.output}")
        elif isinstance(event, Progress):
            if self._progress:
                self._tick(event)
        elif isinstance(event, Finished):
            self.clear()
            report = event.report
            if isinstance(report, Report):
                self._finish(report)
            elif isinstance(report, WebMapReport):
                self._finish_map(report)

    def _finish_map(self, report: WebMapReport) -> None:
        for layer in report.layers:
            if not self._quiet and self._summary:
                say(f"\nlayer {layer.name}")
            self._finish(layer)
        if not self._quiet:
            for one in report.skipped:
                say(f"skipped {one.name}: {redact_text(one.reason)}")
        for one in report.lost:
            say(f"error: layer {one.name} is lost: {redact_text(one.reason)}")
            say(redact_text(one.hint))
        if report.stop is not None:
            names = ", ".join(one.name for one in report.not_begun)
            say(f"error: {redact_text(report.stop.message)}; not begun: {names}")
            say(report.stop.hint)

    def _finish(self, report: Report) -> None:
        from harvester.cli.tables import summary

        if report.stop is not None:
            say(f"error: {redact_text(report.stop.message)}")
            say(redact_text(report.stop.hint))
        if not self._quiet and self._summary:
            say(summary(report))
        elif self._quiet and report.exit_code == 1 and report.stop is None:
            failed, pending = counted(report.counts.failed, "tile"), report.counts.pending
            say(f"error: {failed} failed, {pending:,} pending: {report.output}")

    def _tick(self, event: Progress) -> None:
        counts = event.counts
        share = event.ended / counts.planned if counts.planned else 1.0
        if counts.pending or not event.is_last:
            share = min(share, NOT_ALL)
        main = (f"{share:6.1%}", f"{event.ended:,}/{counts.planned:,} tiles")
        standing = redact_text(event.asking) or _eta(event)
        figures = (f"{event.tiles_per_second:,.0f}/s", f"{event.bytes / 1e6:,.1f} MB", standing)
        bad = [
            f"{number:,} {word}"
            for number, word in ((counts.absent, "absent"), (counts.failed, "failed"), (event.retries, "retries"))
            if number
        ]
        paused = (
            [f"the server is busy: paused for {math.ceil(event.paused_seconds)} s"] if event.paused_seconds > 0 else []
        )
        text = "  ".join((*main, *figures, *bad, *paused))
        if self._moving:
            bar = f"[{'#' * round(share * BAR):<{BAR}}]"
            # Where there is no room for all, the bar goes first, then the figures that matter least, each as a whole.
            short = [f"paused for {math.ceil(event.paused_seconds)} s"] if paused else []
            self._show(
                _fitting(
                    _room(),
                    f"{bar} {text}",
                    text,
                    "  ".join((*main, *figures, *bad, *short)),
                    "  ".join((*main, figures[0], standing, *bad, *short)),
                    "  ".join((*main, *(short or [standing]), *bad)),
                    "  ".join((*main, *(short or [standing]))),
                    "  ".join(main),
                )
            )
            return
        is_news = event.is_last or (bool(event.asking) and not self._asking)
        if (now := time.monotonic()) - self._last >= PLAIN_SECONDS or is_news:
            self._last = now
            self._asking = bool(event.asking)
            say(text)

    def _show(self, text: str) -> None:
        room = _room()
        try:
            # No further than the terminal reaches, which may be narrower by now: blanks beyond it begin a new line.
            sys.stderr.write("\r" + text.ljust(min(len(self._shown), room)))
            sys.stderr.flush()
        except (OSError, ValueError):
            self._moving = self._progress = False
        self._shown = text

    def _line(self, text: str) -> None:
        self.clear()
        say(text)

    def clear(self) -> None:
        """End the moving line, leaving its last state in sight."""
        if self._shown:
            self._shown = ""
            say("")


def _room() -> int:
    """Characters that a line of the terminal on stderr takes; stdout may lead elsewhere."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return (columns or shutil.get_terminal_size().columns) - 1


def _fitting(width: int, *texts: str) -> str:
    """The first of ``texts``, the longest first, that there is room for; of the last one what there is room for."""
    return next((text for text in texts if len(text) <= width), texts[-1][:width])


def _eta(event: Progress) -> str:
    if event.is_last and not event.counts.pending:
        return "done"
    if event.eta_seconds is None:
        return "ETA -"
    seconds = round(event.eta_seconds)
    hours, minutes = divmod(seconds // 60, 60)
    return f"ETA {hours}:{minutes:02}:{seconds % 60:02}" if hours else f"ETA {minutes}:{seconds % 60:02}"
