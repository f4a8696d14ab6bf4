"""An output under whose name no cache can lie is refused before anything is asked, opened or made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.e2e.claims import HASTY

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and sockets with a name are POSIX")
NAMES = ["mbtiles", "tpkx", "pmtiles", "gpkg"]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def refuse(cli, service, folder: Path, output: str, *words: str, mode: str = "merge") -> None:
    before = names_in(folder)
    result = cli("run", service.url, "--lods", "0-1", "-o", output, "--mode", mode, "--json", *HASTY)
    assert (result.code, result.json["error"]["code"]) == (4, "not_a_cache"), result.err
    assert all(word in result.err for word in words), result.err
    assert names_in(folder) == before
    assert service.log.count("tile") == 0 and not service.log


@pytest.mark.parametrize("mode", ["merge", "overwrite"])
@pytest.mark.parametrize("suffix", NAMES)
def test_a_link_that_leads_nowhere_is_no_output(cli, serve, tmp_path, suffix, mode):
    output = f"out.{suffix}"
    try:
        (tmp_path / output).symlink_to(tmp_path / "unmounted" / output)
    except OSError:
        pytest.skip("links can't be made here")
    refuse(cli, serve(), tmp_path, output, "symbolic link", "unmounted", mode=mode)
    assert (tmp_path / output).is_symlink()


@posix
@pytest.mark.parametrize("mode", ["merge", "overwrite"])
@pytest.mark.parametrize("suffix", NAMES)
def test_a_pipe_is_no_output_and_nobody_waits_for_its_other_end(cli, serve, tmp_path, suffix, mode):
    os.mkfifo(tmp_path / f"out.{suffix}")
    refuse(cli, serve(), tmp_path, f"out.{suffix}", "pipe", mode=mode)
    assert (tmp_path / f"out.{suffix}").is_fifo()


@posix
def test_a_socket_is_no_output(cli, serve, tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("out.mbtiles")  # relative: such a name may have a hundred bytes only
        refuse(cli, serve(), tmp_path, "out.mbtiles", "socket")


@posix
def test_a_device_is_no_output(cli, serve, tmp_path):
    (tmp_path / "null.mbtiles").symlink_to("/dev/null")
    refuse(cli, serve(), tmp_path, "null.mbtiles", "device")
    result = cli("run", serve().url, "--lods", "0", "-o", "/dev/null", "--format", "mbtiles", *HASTY)
    assert result.code == 4 and "device" in result.err
    assert not any(Path("/dev").glob("null.*"))


@posix
@pytest.mark.parametrize("verb", ["verify", "info", "report", "holes"])
def test_a_pipe_is_no_cache_to_read_either(cli, tmp_path, verb):
    os.mkfifo(tmp_path / "in.mbtiles")
    result = cli(verb, "in.mbtiles", *(("-o", "holes.geojson") if verb == "holes" else ()))
    assert result.code == 4
    assert "in.mbtiles is no cache" in result.err
    assert names_in(tmp_path) == {"in.mbtiles"}


@posix
def test_nothing_is_converted_into_a_pipe_or_a_link_that_leads_nowhere(cli, serve, tmp_path):
    assert cli("run", serve().url, "--lods", "0-1", "-o", "in.mbtiles", *HASTY).code == 0
    os.mkfifo(tmp_path / "pipe.tpkx")
    (tmp_path / "link.tpkx").symlink_to("nowhere.tpkx")
    before = names_in(tmp_path)
    for name in ("pipe.tpkx", "link.tpkx"):
        result = cli("convert", "in.mbtiles", name)
        assert result.code == 4, result.err
        assert names_in(tmp_path) == before


@posix
def test_a_layer_of_a_web_map_is_not_written_where_no_cache_can_lie(cli, serve, tmp_path):
    service = serve()
    layer = f'{{"title": "World", "url": "{service.url}", "layerType": "ArcGISTiledMapServiceLayer"}}'
    (tmp_path / "map.json").write_text(f'{{"operationalLayers": [{layer}], "baseMap": {{}}}}')
    (tmp_path / "maps").mkdir()
    os.mkfifo(tmp_path / "maps" / "World.tpkx")
    result = cli("run", "map.json", "--lods", "0-1", "-o", "maps", *HASTY)
    assert result.code == 4 and "pipe" in result.err
    assert names_in(tmp_path / "maps") == {"World.tpkx"}
    assert service.log.count("tile") == 0
