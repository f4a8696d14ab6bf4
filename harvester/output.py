"""What lies where beside a cache, and how a finished one takes its name: sealing by rename, swapping folders,
finishing a swap."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harvester.caches import compact
from harvester.caches.belongings import not_itself, require_kept, require_own
from harvester.caches.formats import DATABASES, PACKAGES
from harvester.caches.open import is_empty_or_missing
from harvester.caches.recognising import sniff_here
from harvester.database import foreign_beside, is_written_here, remove_journal
from harvester.durable import FILE, FOLDER, Disk, Lock, kind_of
from harvester.errors import CacheError, UsageError
from harvester.ledger_reader import is_ledger

NEW, PART, OLD, WORK = ".new", ".part", ".old", ".work"
"""Endings of what is made beside an output, and of what it replaces."""


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
    held: Lock | None = None
    """The lock, while it is held."""

    def claim(self, *endings: str) -> None:
        """Say in the lock that what will lie under these endings is ours, should we be killed. Raises CacheError."""
        if self.held is not None:
            self.held.note(*endings)

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
        return self._beside(NEW)

    @property
    def new_ledger(self) -> Path:
        """``OUT.new.ledger``: its ledger."""
        return self._beside(".new.ledger")

    @property
    def old(self) -> Path:
        """``OUT.old``: the replaced folder, for the moment of the swap."""
        return self._beside(OLD)

    @property
    def work(self) -> Path:
        """``OUT.work/``: where a sealed format is collected."""
        return self._beside(WORK)

    @property
    def part(self) -> Path:
        """``OUT.part``: the package being sealed."""
        return self._beside(PART)

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


def require_own_names(paths: OutputPaths, format: str, *, rebuilding: bool = False) -> None:
    """Whoever holds the lock has nothing of anybody's under the names of its ledgers and of SQLite's journals, which
    are filled, replaced and removed. ``rebuilding``: what lies under the name of the ledger of a cache that is there
    is put aside, and that ledger made anew. Raises CacheError; nothing was changed then."""
    goes_on = not paths.overwrite and (exists(paths.out) or exists(paths.work))
    for ledger in _ledgers(paths):
        if rebuilding and goes_on and ledger == paths.final_ledger:
            continue
        if exists(ledger) and not is_ledger(ledger):
            raise _taken(paths, ledger, "it is no ledger", " (a ledger that was damaged is made anew from the cache)")
    caches = (paths.out, paths.new) if format in DATABASES else ()
    for database in (*_ledgers(paths), *caches):
        if (found := foreign_beside(database)) is not None:
            raise _taken(paths, found, "it is no journal of a run's")


def put_aside(ledger: Path, disk: Disk) -> Path:
    """Give what is no ledger, or none any more, another name; gives that."""
    number, aside = 1, ledger.with_name(f"{ledger.name}.damaged")
    while kind_of(aside):
        number += 1
        aside = ledger.with_name(f"{ledger.name}.damaged-{number}")
    disk.replace(ledger, aside)
    return aside


def _taken(paths: OutputPaths, place: Path, what: str, more: str = "") -> CacheError:
    return CacheError(
        f"{place} is there, and {what}: what makes {paths.out.name} keeps its own under that name",
        hint=f"Move it away{more}, or choose another output; nothing was changed.",
        code="name_taken",
    )


def _ledgers(paths: OutputPaths) -> tuple[Path, Path]:
    return paths.final_ledger, paths.new_ledger


def require_elsewhere(file: Path, option: str, out: Path, *, inside: bool = False) -> None:
    """A file that is written besides is none of those that an output has or takes, and lies in none of them. Raises
    UsageError; nothing was opened. ``inside``: ``out`` is a cache's folder, or will be."""
    paths = OutputPaths(out=out, sealed=True, overwrite=True)
    files = (paths.out, paths.new, *_ledgers(paths))
    journals = (path.with_name(path.name + "-journal") for path in files if path.name)
    single = {_real(path) for path in (*files, *journals, paths.lock)}
    folders = {_real(path) for path in (paths.new, paths.old, paths.part, paths.work)}
    if inside or sniff_here(out) is not None:
        folders.add(_real(out))
    place = _real(file)
    if place in single or folders & {place, *place.parents}:
        raise UsageError(
            f"{option} {file} would be written over {out}, into it, or under a name that belongs to it",
            hint="Name another file; nothing was changed.",
        )


def require_unread(file: Path, option: str, read: Iterable[Path]) -> None:
    """A file that is written besides is none of those that the command reads. Raises UsageError; nothing was opened."""
    place = _real(file)
    if kind_of(file) not in ("", FILE):  # a device or a pipe, such as /dev/null: nothing in it can be lost
        return
    for path in read:
        if place == _real(path) or _is_one(file, path):
            raise UsageError(
                f"{option} {file} would be written over {path}, which the command reads or writes itself",
                hint="Name another file; nothing was changed.",
            )


def require_outside(out: Path) -> None:
    """An output lies in none of another cache's folders, there or in the making. Raises UsageError."""
    for folder in Path(os.path.realpath(out)).parents:
        base = next((end for end in (NEW, PART, OLD, WORK) if folder.name.endswith(end)), "")
        cache = folder.with_name(folder.name.removesuffix(base)) if folder.name else folder
        ledger = cache.with_name(f"{cache.name}.ledger") if cache.name else cache
        if compact.is_cache_folder(folder) or is_written_here(ledger) or is_ledger(ledger):
            raise UsageError(
                f"{out} lies in {folder}, which belongs to the cache {cache}",
                hint="Choose a place beside it; nothing was changed.",
            )


def _is_one(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def exists(path: Path) -> bool:
    """True for a file with bytes or a folder with entries: something that must not be lost."""
    if path.is_dir():
        return any(path.iterdir())
    return path.exists() and path.stat().st_size > 0


def file_stamp(path: Path) -> str:
    """Size and time of a file: changes whenever it may have changed."""
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


def require_free(paths: OutputPaths, *places: Path) -> None:
    """Raises CacheError where something lies under a name that is needed, and nothing says that a run or a verb of this
    output left it there; it stays."""
    for path in places:
        if exists(path):
            raise CacheError(
                f"{path} is there, and nothing says that it was left by what makes {paths.out.name}",
                hint="Move it away, or choose another output: a cache is made and swapped in under that name; "
                "nothing was changed.",
                code="name_taken",
            )


def remove_ledger(paths: OutputPaths, disk: Disk) -> None:
    """Remove the ledger of a cache that is replaced by one without: it says nothing of that."""
    if is_ledger(paths.final_ledger):
        remove_journal(paths.final_ledger, disk)
        disk.remove(paths.final_ledger)


def recover(paths: OutputPaths, disk: Disk) -> None:
    """Clear away what a holder of the lock that was killed had noted as its own; a folder that it had moved out of the
    way and not yet replaced has its name again."""
    left = paths.held.left if paths.held is not None else frozenset()
    if OLD in left and paths.old.exists():
        if paths.out.exists():
            disk.remove_tree(paths.old)
        else:
            disk.replace(paths.old, paths.out)
            disk.sync_folder(paths.out.absolute().parent)
    for ending, path in ((NEW, paths.new), (PART, paths.part)):
        if ending in left:
            remove_journal(path, disk)
            disk.remove_tree(path)


def require_still_own(paths: OutputPaths) -> None:
    """Raises CacheError where anything of somebody's has come into ``OUT`` while its replacement was made."""
    if is_empty_or_missing(paths.out):
        return
    if (found := sniff_here(paths.out)) is None:
        raise not_itself(paths.out)
    if found in PACKAGES:  # one that is added to comes here too, with all members that it had
        require_kept(paths.out, found, paths.part)
    else:
        require_own(paths.out, found)


def swap(paths: OutputPaths, disk: Disk) -> None:
    """Give the finished replacement its name: ``OUT`` -> ``OUT.old``, new -> ``OUT``, the ledger after it.

    The ledger of the replacement says that it is finished before this is called; ``finish_swap`` completes what a crash
    left half done. Raises CacheError where something that is no cache's has come into ``OUT`` meanwhile, or to
    ``OUT.old``.
    """
    ready = paths.part if paths.sealed else paths.new
    require_still_own(paths)
    if (paths.out.is_dir() or ready.is_dir()) and paths.out.exists():
        require_free(paths, paths.old)
        disk.remove_tree(paths.old)
        paths.claim(OLD)
        disk.replace(paths.out, paths.old)
    disk.replace(ready, paths.out)
    disk.sync_folder(paths.out.parent)
    _settle(paths, disk)


def finish_swap(paths: OutputPaths, *, new_is_finished: bool, out_is_swapped: bool, disk: Disk) -> None:
    """Complete a swap that was cut short. ``new_is_finished``: the replacement's ledger says that only the swap was
    left;
    ``out_is_swapped``: the ledger of what is there says that it came by a swap, of which nobody has seen the end.

    The states that a crash can leave: OUT moved to OUT.old and the new one not yet there; the new one there with its
    ledger not yet; all there and only OUT.old left over.
    """
    if new_is_finished:
        ready = paths.part if paths.sealed else paths.new
        if ready.exists():
            swap(paths, disk)
        elif paths.out.exists():
            _settle(paths, disk)
    elif out_is_swapped and paths.out.is_dir() and paths.old.exists():
        _settle(paths, disk)


def _settle(paths: OutputPaths, disk: Disk) -> None:
    if paths.sealed:
        # First: only the replacement's ledger, under its own name, says whose these are.
        disk.remove_tree(paths.new)
        disk.remove_tree(paths.work)
    if is_ledger(paths.new_ledger):
        remove_journal(paths.final_ledger, disk)
        disk.replace(paths.new_ledger, paths.final_ledger)
    disk.sync_folder(paths.out.parent)
    # A file is replaced by one rename: whatever lies there then is not ours.
    if paths.out.is_dir() or (paths.old.is_dir() and not exists(paths.old)):
        disk.remove_tree(paths.old)
