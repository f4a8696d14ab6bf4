"""``python -m harvester.compiled.build``: C extensions of the hot path. Needs mypy, setuptools and a C compiler."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

from harvester.compiled import GROUP, MODULES, PACKAGE, RECORD, folder, is_fresh, source_of, sums

CONFIG = "[mypy]\nfollow_imports = silent\nignore_missing_imports = true\n"


class NotBuiltError(Exception):
    """The text says what is missing."""


def build() -> Path:
    """Compile; gives the folder. What was there before is gone even if this fails. Raises NotBuiltError."""
    made = Path(folder())
    shutil.rmtree(made, ignore_errors=True)
    made_of = sums()
    with tempfile.TemporaryDirectory() as scratch, chdir(Path(PACKAGE).parent):
        _compile(Path(scratch))
        found = [file for file in (Path(scratch) / "out").rglob("*") if file.is_file()]
        made.mkdir(parents=True)
        for file in found:
            relative = file.relative_to(Path(scratch) / "out")
            shutil.copyfile(file, made / ".".join(relative.parts))
    (made / RECORD).write_text(made_of, encoding="ascii", newline="\n")
    return made


def _compile(scratch: Path) -> None:
    try:
        from mypyc.build import mypycify
        from setuptools import Distribution
    except ImportError as missing:
        raise NotBuiltError(f"{missing.name} is not installed: pip install mypy setuptools") from missing
    config = scratch / "mypy.ini"
    config.write_text(CONFIG)
    sources = [os.path.relpath(source_of(module)) for module in MODULES]
    try:
        with redirect_stdout(sys.stderr):
            extensions = mypycify(
                [*sources, f"--config-file={config}", "--cache-dir", str(scratch / "cache")],
                opt_level="2",
                multi_file=True,
                group_name=GROUP,
                target_dir=str(scratch / "c"),
            )
            command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
            command.build_lib, command.build_temp = str(scratch / "out"), str(scratch / "objects")
            command.parallel = os.cpu_count()
            command.ensure_finalized()
            command.run()
    except (SystemExit, Exception) as failed:  # however a compiler, or what drives it, says that it can't
        raise NotBuiltError(f"{type(failed).__name__}: {failed}"[:500]) from failed


def main() -> int:
    """Exit code 0 also where nothing can be compiled: the sources run then."""
    if is_fresh():
        print("compiled already, of these sources")
        return 0
    try:
        made = build()
    except NotBuiltError as why:
        print(f"not compiled, the sources run as they are: {why}", file=sys.stderr)
        return 0
    print(f"compiled: {len(MODULES)} modules in {made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
