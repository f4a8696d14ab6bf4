"""Paths that this user may not look at: an error of the person's, no defect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.delta.making import make, some

NOBODY = 65534

CLOSED = "closed/out.tpkx"


@contextmanager
def somebody_without_rights() -> Iterator[None]:
    """The superuser may look everywhere; others are shut out by the folder's mode."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    "command",
    [
        ("info", CLOSED),
        ("verify", CLOSED),
        ("report", CLOSED),
        ("why", CLOSED, "1/0/0"),
        ("holes", CLOSED, "-o", "holes.geojson"),
        ("convert", CLOSED, "new.mbtiles"),
        ("convert", "in.mbtiles", CLOSED),
        ("merge", "in.mbtiles", "-o", CLOSED),
        ("diff", "in.mbtiles", CLOSED, "-o", "delta.tpkx"),
        ("apply", CLOSED, "in.mbtiles"),
        ("info", "in.mbtiles"),
    ],
    ids=" ".join,
)
def test_a_path_that_may_not_be_looked_at_is_exit_4_and_named(cli, tmp_path, command):
    make(tmp_path / "in.mbtiles", some("0/0/0", "1/0/0"), format="mbtiles").chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    cli(*command)  # as whoever runs this: all modules are there then
    with somebody_without_rights():
        result = cli(*command)
    (tmp_path / "closed").chmod(0o700)
    assert result.code == 4, result.err
    assert "ermission" in result.err and "defect" not in result.err


@pytest.mark.parametrize("command", [("info", "in.mbtiles"), ("convert", "new.mbtiles", "in.mbtiles")], ids=" ".join)
def test_a_cache_that_may_not_be_read_is_not_called_none(cli, tmp_path, command):
    for name in ("in.mbtiles", "new.mbtiles"):
        make(tmp_path / name, some("0/0/0", "1/0/0"), format="mbtiles")
    (tmp_path / "in.mbtiles").chmod(0)
    cli(*command)
    tmp_path.chmod(0o777)
    with somebody_without_rights():
        result = cli(*command)
    assert result.code == 4, result.err
    assert "Permission denied" in result.err and "no cache" not in result.err
