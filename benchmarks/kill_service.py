"""The service whose runs are killed: ``python -m benchmarks.kill_service KIND`` serves until standard input ends."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.kill_ways import is_absent
from benchmarks.measure import ROOT
from harvester.testing.service import ArcGisSite, FaultyService


class service:
    """A service in a process of its own, so that this one has no threads when it forks."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __enter__(self) -> service:
        command = [sys.executable, "-m", "benchmarks.kill_service", self._kind]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, bufsize=1
        )
        return self

    def say(self, text: str) -> str:
        """Tell it something; gives its answer, the URL."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()


def serve(kind: str) -> None:
    """Serve until standard input ends; ``variant N`` changes the content."""
    with FaultyService(ArcGisSite(kind=kind, absent=is_absent), keep=100) as served:
        for line in sys.stdin:
            if line.startswith("variant "):
                served.site.variant = int(line.split()[1])
            print(served.url, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
