"""Compiled modules run only where they were made of the very sources, and then do what the sources do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harvester.compiled import MODULES, VARIABLE, source_of

ROOT = Path(__file__).parents[2]
TREE = ("harvester", "tests", "benchmarks", "pyproject.toml", "README.md")
WHICH = "import sys, {0}; print(sys.modules['{0}'].__file__)".format("harvester.engine.flow")
ROOMS = ("tests/engine", "tests/pacing/test_pacer.py", "tests/payload", "tests/sources", "tests/transport")
"""Where the compiled modules have their tests."""


def test_every_module_that_is_compiled_is_there() -> None:
    for module in MODULES:
        assert Path(source_of(module)).is_file(), module


def run(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False, timeout=1800,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environ},
    )  # fmt: skip


def which(folder: Path, **environ: str) -> str:
    """The suffix of the file that a compiled module comes from."""
    ended = run(folder, "-c", WHICH, **environ)
    assert not ended.returncode, ended.stderr
    return Path(ended.stdout.strip()).suffix


def compile_copy(folder: Path) -> None:
    """A copy of the project with its hot path compiled."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "made"))
        else:
            shutil.copyfile(ROOT / name, folder / name)
    ended = run(folder, "-m", "harvester.compiled.build")
    if "No such file or directory: 'Python.h'" in ended.stderr or "Python.h: No such file" in ended.stderr:
        pytest.skip("no headers of Python here")
    assert not ended.returncode and ended.stdout.startswith("compiled:"), ended.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_compiled_modules_run_only_while_they_are_of_these_sources_and_do_what_these_do(tmp_path: Path) -> None:
    """One test, since it takes a minute to compile."""
    compile_copy(tmp_path)
    assert which(tmp_path) not in (".py", "")
    assert which(tmp_path, **{VARIABLE: "0"}) == ".py"
    source = tmp_path / "harvester" / "payload" / "png.py"
    text = source.read_bytes()
    source.write_bytes(text + b"# changed\n")
    assert which(tmp_path) == ".py", "another module's source was changed, so all are as they are"
    source.write_bytes(text)
    assert which(tmp_path) != ".py"
    ended = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *ROOMS)
    assert not ended.returncode, ended.stdout[-4000:]
