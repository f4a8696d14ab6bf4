"""A disk that dies: from one step on nothing reaches it any more, as if the process had been killed there."""

from __future__ import annotations

import os
from pathlib import Path

from harvester.durable import Disk


class Killed(BaseException):
    """The process is gone, as far as the disk can tell."""


class DyingDisk(Disk):
    """Works until ``steps`` operations were begun; from then on each raises Killed, those of clean-up too."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.dead = False
        self._left = steps

    def step(self, name: str, path: Path) -> None:
        """Count down; once dead, stay dead."""
        self._left -= 1
        if self.dead or self._left < 0:
            self.dead = True
            raise Killed

    def close(self, descriptor: int) -> None:
        """Descriptors go with their process."""
        if self.dead:
            self._paths.pop(descriptor)
            os.close(descriptor)
            return
        super().close(descriptor)
