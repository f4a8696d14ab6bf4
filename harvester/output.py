"""What lies where beside a cache, and how a finished one takes its name: sealing by rename, swapping folders,
finishing a swap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harvester.durable import FILE, FOLDER, Disk, kind_of
from harvester.errors import CacheError


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPaths:
    """Every path that a run of this output may touch, and nothing else.

    ``collect`` is where tiles are written: ``OUT`` itself (appendable, merge), ``OUT.work/`` (sealed, merge) or
    ``OUT.new``
    (overwrite; a compact folder for sealed formats). ``ledger`` goes with it.
    """

    out: Path
    sealed: bool
    overwrite: bool

    def _beside(self, suffix: str) -> Path:
        out = self.out if self.out.name else self.out.absolute()
        return out.with_name(out.name + suffix)

    @property
    def lock(self) -> Path:
        """``OUT.lock``: held while a run owns this output."""
        return self._beside(".lock")

    @property
    def final_ledger(self) -> Path:
        """``OUT.ledger``: the ledger of what is under the final name."""
        return self._beside(".ledger")

    @property
    def new(self) -> Path:
        """``OUT.new``: the replacement while it grows."""
        return self._beside(".new")

    @property
    def new_ledger(self) -> Path:
        """``OUT.new.ledger``: its ledger."""
        return self._beside(".new.ledger")

    @property
    def old(self) -> Path:
        """``OUT.old``: the replaced folder, for the moment of the swap."""
        return self._beside(".old")

    @property
    def work(self) -> Path:
        """``OUT.work/``: where a sealed format is collected."""
        return self._beside(".work")

    @property
    def part(self) -> Path:
        """``OUT.part``: the package being sealed."""
        return self._beside(".part")

    @property
    def collect(self) -> Path:
        """Where this run's tiles are written."""
        if self.overwrite:
            return self.new
        return self.work if self.sealed else self.out

    @property
    def ledger(self) -> Path:
        """The ledger that this run writes."""
        return self.new_ledger if self.overwrite else self.final_ledger


def require_names(paths: OutputPaths) -> None:
    """Under the names that a run takes lies nothing, or what a run may have left there: nobody's pipe, device, folder
    or link is opened, filled or removed. Raises CacheError; nothing was changed then."""
    journals = [path.with_name(path.name + "-journal") for path in (paths.out, paths.new, *_ledgers(paths))]
    files = (paths.lock, *_ledgers(paths), *journals)
    allowed = {paths.work: (FOLDER,)} | dict.fromkeys((paths.part, paths.new, paths.old), (FILE, FOLDER))
    for path, kinds in (dict.fromkeys(files, (FILE,)) | allowed).items():
        kind = kind_of(path)
        if kind and kind not in kinds:
            raise CacheError(
                f"{path} is {kind}: a run of {paths.out.name} keeps {' or '.join(kinds)} of its own under that name",
                hint="Move it away, or choose another output; nothing was changed.",
                code="name_taken",
            )


def _ledgers(paths: OutputPaths) -> tuple[Path, Path]:
    return paths.final_ledger, paths.new_ledger


def exists(path: Path) -> bool:
    """True for a file with bytes or a folder with entries: something that must not be lost."""
    if path.is_dir():
        return any(path.iterdir())
    return path.exists() and path.stat().st_size > 0


def file_stamp(path: Path) -> str:
    """Size and time of a file: changes whenever it may have changed."""
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


def swap(paths: OutputPaths, disk: Disk) -> None:
    """Give the finished replacement its name: ``OUT`` -> ``OUT.old``, new -> ``OUT``, the ledger after it.

    The ledger of the replacement says that it is finished before this is called; ``finish_swap`` completes what a crash
    left half done.
    """
    ready = paths.part if paths.sealed else paths.new
    if paths.out.is_dir() or ready.is_dir():
        disk.remove_tree(paths.old)
        if paths.out.exists():
            disk.replace(paths.out, paths.old)
    disk.replace(ready, paths.out)
    disk.sync_folder(paths.out.parent)
    _settle(paths, disk)


def finish_swap(paths: OutputPaths, *, new_is_finished: bool, out_is_swapped: bool, disk: Disk) -> None:
    """Complete a swap that was cut short. ``new_is_finished``: the replacement's ledger says that only the swap was
    left;
    ``out_is_swapped``: the ledger of what is there says that it came by a swap.

    The states that a crash can leave: OUT moved to OUT.old and the new one not yet there; the new one there with its
    ledger not yet; all there and only OUT.old left over.
    """
    if new_is_finished:
        ready = paths.part if paths.sealed else paths.new
        if ready.exists():
            swap(paths, disk)
        elif paths.out.exists():
            _settle(paths, disk)
    elif paths.old.exists() and not paths.out.exists():
        disk.replace(paths.old, paths.out)
        disk.sync_folder(paths.out.parent)
    elif out_is_swapped and paths.old.exists():
        _settle(paths, disk)


def _settle(paths: OutputPaths, disk: Disk) -> None:
    if paths.sealed:
        # First: only the replacement's ledger, under its own name, says whose these are.
        disk.remove_tree(paths.new)
        disk.remove_tree(paths.work)
    if paths.new_ledger.exists():
        disk.remove(paths.final_ledger.with_name(paths.final_ledger.name + "-journal"))
        disk.replace(paths.new_ledger, paths.final_ledger)
    disk.sync_folder(paths.out.parent)
    disk.remove_tree(paths.old)
