"""What a cache holds beside its tiles when tiles are added: what a person or ArcGIS wrote stays."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
import struct
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harvester.caches import pmtiles_layout as layout
from harvester.caches.open import open_cache
from harvester.delta.join import convert
from harvester.edges import TileFormat, VectorLayer
from harvester.errors import CacheError
from harvester.loop import run_loop
from harvester.policy import Policy
from harvester.testing.vector import tile_mvt
from harvester.tiling.scheme import Box
from tests.caches.making import mercator
from tests.delta.making import files, held, make, some

THERE = some("0/0/0", "3/2/2")
MORE = some("3/2/3", "5/9/9", first=40)
EXTENT = Box(-1.0e7, 0.0, -0.5e7, 0.5e7)
GUID = "9A0A3C1E-7D4B-4C55-8E2F-0123456789AB"
"""Made at random, as its 4 says."""

EXTRA = {"mine/nötes.txt": b"mine", "esriinfo/metadata/my.xml": b"<a/>", "v103/Layers.lyr": bytes(range(256))}


def rewritten(path: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> dict[str, bytes]:
    """A package with other members, as a person's zip tool makes it; gives them."""
    members = dict(change(read(path)))
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            deflated = name.endswith(".lyr")
            archive.writestr(name, data, zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED)
    return members


def read(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def by_a_person(path: Path) -> dict[str, bytes]:
    """A package that somebody, or ArcGIS, wrote more into."""

    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        return {_elsewhere(name, path): _edited(name, data) for name, data in members.items()} | EXTRA

    return rewritten(path, change)


def _elsewhere(name: str, path: Path) -> str:
    """ArcGIS calls a folder as the map is called."""
    return name.replace("v101/Layers/", "v101/My Map/") if path.suffix == ".tpk" else name


def _edited(name: str, data: bytes) -> bytes:
    if name.endswith(("iteminfo.xml", "item.pkinfo")):
        data = re.sub(rb"(<snippet>)[^<]*", rb"\1my words", data)
        data = re.sub(rb"<tags></tags>", b"<tags>trails, parks</tags>\n<mine>!</mine>", data)
        return re.sub(rb"(<guid>|<ID>)[^<]*", rb"\g<1>" + GUID.encode(), data)
    if name.endswith("iteminfo.json"):
        return json.dumps({**json.loads(data), "snippet": "my words", "guid": GUID, "mine": [1]}, indent=1).encode()
    if name in ("root.json", "p12/root.json"):
        return json.dumps({**json.loads(data), "layers": [{"id": 0, "name": "wind"}], "mine": {"a": 1}}).encode()
    if name.endswith("metadata.json"):
        return json.dumps({**json.loads(data), "mine": 5}).encode()
    if name.endswith("thumbnail.png"):
        return data + b"another picture"
    return data


def vector(tiles: Mapping) -> dict:
    return {tile: tile_mvt(*tile) for tile in tiles}


def facts_of(format: str) -> dict:
    """What the tests' caches are about."""
    vectors = {"scheme": mercator(size=512), "tile_format": TileFormat.PBF, "name": "Streets"}
    return {"extent": EXTENT} | (vectors if format == "vtpk" else {})


def package(tmp_path: Path, format: str) -> tuple[Path, Path]:
    """A package, and a cache whose tiles are to go into it."""
    facts = facts_of(format)
    one, other = (vector(THERE), vector(MORE)) if format == "vtpk" else (THERE, MORE)
    out = make(tmp_path / f"out.{format}", one, format=format, **facts)
    return out, make(tmp_path / "more", {**one, **other}, format="compactv2", **facts)


@pytest.mark.parametrize("format", ["tpk", "tpkx", "vtpk"])
def test_members_and_texts_stay_and_what_the_tiles_changed_is_stated_anew(tmp_path, format):
    out, more = package(tmp_path, format)
    before = by_a_person(out)
    assert run_loop(convert(more, out)).tiles == 2
    after = read(out)
    assert set(before) <= set(after)
    assert all(after[name] == data for name, data in EXTRA.items())
    thumbnail = next(name for name in before if name.endswith("thumbnail.png"))
    assert after[thumbnail] == before[thumbnail]
    assert held(out) == held(more)
    if format == "tpk":
        assert {name for name in after if "_alllayers" in name} >= {
            f"v101/My Map/_alllayers/L05/R0000C0000.{kind}" for kind in ("bundle", "bundlx")
        }
    if format == "tpkx":
        item = json.loads(after["iteminfo.json"])
        assert (item["snippet"], item["guid"], item["mine"]) == ("my words", GUID, [1])
    else:
        item = ElementTree.fromstring(after["esriinfo/iteminfo.xml"])
        assert (item.findtext("snippet"), item.findtext("tags"), item.findtext("mine")) == (
            "my words",
            "trails, parks",
            "!",
        )
        assert item.findtext("guid") == GUID == ElementTree.fromstring(after["esriinfo/item.pkinfo"]).findtext("ID")
        assert (
            before["esriinfo/iteminfo.xml"].partition(b"<extent>")[0]
            == (after["esriinfo/iteminfo.xml"].partition(b"<extent>")[0])
        )
    if format != "tpk":
        root = json.loads(after["root.json" if format == "tpkx" else "p12/root.json"])
        assert (root["layers"], root["mine"]) == ([{"id": 0, "name": "wind"}], {"a": 1})
        assert (root["minLOD"], root["maxLOD"]) == (0, 5)
    if format == "vtpk":
        assert json.loads(after["p12/metadata.json"])["mine"] == 5
    with open_cache(out) as reader:
        assert not list(reader.check())
        assert list(reader.levels()) == [0, 3, 5]
        assert [lod.level for lod in reader.info.scheme.lods][:6] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("format", ["tpk", "tpkx", "vtpk", "pmtiles"])
def test_a_package_to_which_nothing_comes_stays_as_it_is_byte_for_byte(tmp_path, format):
    if format == "pmtiles":
        out = make(tmp_path / "out.pmtiles", THERE, format=format, extent=EXTENT)
        with_metadata(out, {"mine": 1})
        more = make(tmp_path / "more", THERE, format="compactv2", extent=EXTENT, attribution="another's")
    else:
        out, _ = package(tmp_path, format)
        by_a_person(out)
        more = make(tmp_path / "again", held(out), format="compactv2", **facts_of(format), attribution="another's")
    data = out.read_bytes()
    summary = run_loop(convert(more, out))
    assert (summary.tiles, summary.exit_code) == (0, 0)
    assert out.read_bytes() == data
    assert not list(tmp_path.glob("out*.*.*"))


@pytest.mark.parametrize("format", ["tpk", "tpkx", "vtpk"])
def test_the_comment_of_a_package_and_its_folders_stay(tmp_path, format):
    out, more = package(tmp_path, format)
    members = read(out)
    folders = {f"{parent.as_posix()}/" for name in members for parent in list(Path(name).parents)[:-1]} | {"empty/"}
    comment = "my words, nötes".encode()
    with zipfile.ZipFile(out, "w") as archive:
        for name in sorted({*members, *folders}):
            archive.writestr(name, members.get(name, b""))
        archive.comment = comment
    assert run_loop(convert(more, out)).tiles == 2
    with zipfile.ZipFile(out) as archive:
        names = archive.namelist()
        assert archive.comment == comment
    assert folders <= set(names) and len(names) == len(set(names))
    assert all(names.index(f"{Path(name).parent.as_posix()}/") < names.index(name) for name in members if "/" in name)
    assert held(out) == held(more)
    with open_cache(out) as reader:
        assert not list(reader.check())


ODD = b',\r\n "far":1E400, "dec":0.10000000000000000555, "mine" : 1, "mine" : 2, "one":1.0, "slash":"a\\/b"}'
"""Members as no other program need spell them."""


@pytest.mark.parametrize("format", ["tpkx", "vtpk", "compactv2"])
def test_what_the_tiles_did_not_change_in_a_document_keeps_its_text(tmp_path, format):
    if format == "compactv2":
        out = make(tmp_path / "out", THERE, format=format, extent=EXTENT)
        more = make(tmp_path / "more", {**THERE, **MORE}, format=format, extent=EXTENT)
        root = out / "root.json"
        root.write_bytes(root.read_bytes().rstrip()[:-1] + ODD)
        run_loop(convert(more, out))
        texts = [root.read_bytes()]
    else:
        out, more = package(tmp_path, format)
        names = ["root.json", "iteminfo.json"] if format == "tpkx" else ["p12/root.json", "p12/metadata.json"]
        rewritten(out, lambda members: members | {name: members[name].rstrip()[:-1] + ODD for name in names})
        run_loop(convert(more, out))
        texts = [read(out)[name] for name in names]
    assert all(ODD[:-1] in text for text in texts), texts
    assert held(out) == held(more)
    root = json.loads(texts[0])
    assert root["maxLOD"] == 5 and root["tileInfo"]["lods"][5]["level"] == 5


@pytest.mark.parametrize("format", ["tpkx", "vtpk", "compactv2"])
@pytest.mark.parametrize("odd", [b'{"maxLOD":3,', b'{"MAXlod":3,', b'{"tileInfo":{"lods":[]},'])
def test_a_document_that_says_twice_what_tiles_change_is_refused_before_the_first(tmp_path, format, odd):
    if format == "compactv2":
        out = make(tmp_path / "out", THERE, format=format, extent=EXTENT)
        more = make(tmp_path / "more", {**THERE, **MORE}, format=format, extent=EXTENT)
        root = out / "root.json"
        root.write_bytes(odd + root.read_bytes()[1:])
    else:
        out, more = package(tmp_path, format)
        name = "root.json" if format == "tpkx" else "p12/root.json"
        rewritten(out, lambda members: members | {name: odd + members[name][1:]})
    before = files(out) if out.is_dir() else out.read_bytes()
    with pytest.raises(CacheError, match="twice"):
        run_loop(convert(more, out))
    assert (files(out) if out.is_dir() else out.read_bytes()) == before
    assert not list(tmp_path.glob("out*.*.*"))


@pytest.mark.parametrize("format", ["tpk", "tpkx", "vtpk"])
def test_a_package_that_nobody_wrote_into_is_the_same_made_at_once_or_in_parts(tmp_path, format):
    out, more = package(tmp_path, format)
    whole = tmp_path / f"whole.{format}"
    for path in (out, whole):
        path.unlink(missing_ok=True)
    run_loop(convert(more, out, part=Policy(lods=((5, 5),))))
    run_loop(convert(more, out, part=Policy(lods=((0, 3),))))
    run_loop(convert(more, whole))
    one, other = read(out), read(whole)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name] and name != "manifest.json"] == []


def with_metadata(path: Path, more: Mapping[str, object], odd: bytes = b"") -> dict:
    """A PMTiles archive whose JSON metadata says more; gives all of it."""
    data = path.read_bytes()
    header = layout.parse_header(data[: layout.HEADER_SIZE])
    start, length = header.metadata_offset, header.metadata_length
    told = {**json.loads(gzip.decompress(data[start : start + length])), **more}
    packed = layout.compress(json.dumps(told).encode() if not odd else json.dumps(told).encode()[:-1] + odd)
    # Behind everything else: nothing else moves.
    head = bytearray(data[: layout.HEADER_SIZE])
    struct.pack_into("<2Q", head, 24, len(data), len(packed))
    path.write_bytes(bytes(head) + data[layout.HEADER_SIZE :] + packed)
    return told


def test_the_metadata_of_an_archive_stays(tmp_path):
    out = make(tmp_path / "out.pmtiles", THERE, format="pmtiles", extent=EXTENT)
    told = {"name": "My own", "description": "my words", "mine": {"a": [1]}, "version": "7", "type": "overlay"}
    with_metadata(out, told)
    more = make(tmp_path / "more", {**THERE, **MORE}, format="compactv2", extent=EXTENT)
    assert run_loop(convert(more, out)).tiles == 2
    with open_cache(out) as reader:
        assert {name: reader.metadata[name] for name in told} == told
        assert [zoom["zoom"] for zoom in reader.metadata["levels"]] == [0, 3, 5]
    assert held(out) == {**THERE, **MORE}


def test_what_the_tiles_did_not_change_in_the_metadata_of_an_archive_keeps_its_text(tmp_path):
    out = make(tmp_path / "out.pmtiles", THERE, format="pmtiles", extent=EXTENT)
    with_metadata(out, {}, ODD)
    more = make(tmp_path / "more", MORE, format="compactv2", extent=EXTENT)
    assert run_loop(convert(more, out)).tiles == 2
    with open_cache(out) as reader:
        text = reader.metadata_text
    assert text.count(b'"mine":') == 2 and b'"far":1E400,' in text and b'"dec":0.10000000000000000555' in text


@pytest.mark.parametrize("format", ["xyz", "mbtiles"])
def test_what_the_tiles_did_not_change_in_a_list_of_layers_keeps_its_text(tmp_path, format):
    facts = facts_of("vtpk")
    out = make(tmp_path / f"out{'.mbtiles' if format == 'mbtiles' else ''}", vector(THERE), format=format, **facts)
    other = {**facts, "vector_layers": (VectorLayer(id="new"),)}
    more = make(tmp_path / "more", vector(MORE), format="compactv2", **other)
    layer = b'"vector_layers":[{"id":"mine","fields":{},"mine" : 1E400}]'
    told = b'{"tilejson":"3.0.0", "tiles":["{z}/{x}/{y}.pbf"], "tileSize":512,' + layer + ODD
    if format == "xyz":
        (out / "tiles.json").write_bytes(told)
    else:
        with closing(sqlite3.connect(out)) as connection, connection:
            connection.execute("UPDATE metadata SET value = ? WHERE name = 'json'", (told.decode(),))
    run_loop(convert(more, out, format=format))
    if format == "xyz":
        text = (out / "tiles.json").read_bytes()
    else:
        with closing(sqlite3.connect(out)) as connection:
            ((found,),) = connection.execute("SELECT value FROM metadata WHERE name = 'json'")
            text = found.encode()
    assert ODD[:-1] in text and b'"id":"new"' in text and b'"fields":{},"mine" : 1E400}' in text
    assert held(out) == vector({**THERE, **MORE})


def test_a_list_of_tiles_that_says_twice_what_tiles_change_is_refused(tmp_path):
    out = make(tmp_path / "out", THERE, format="xyz")
    stated = out / "tiles.json"
    stated.write_bytes(b'{"maxzoom":9,' + stated.read_bytes()[1:])
    before = files(out)
    with pytest.raises(CacheError, match="'maxzoom' twice"):
        run_loop(convert(make(tmp_path / "more", MORE, format="compactv2"), out, format="xyz"))
    assert files(out) == before


@pytest.mark.parametrize("format", ["compact", "compactv2", "exploded"])
def test_the_documents_of_a_folder_keep_what_others_wrote(tmp_path, format):
    out = make(tmp_path / "out", THERE, format=format, extent=EXTENT)
    conf, root, cdi = (out / name for name in ("conf.xml", "root.json", "conf.cdi"))
    text = conf.read_text(encoding="utf-8").replace(
        "<Antialiasing>false</Antialiasing>", "<Antialiasing>true</Antialiasing>"
    )
    deeper = (
        "<LODInfo xsi:type='typens:LODInfo'><LevelID>4</LevelID><Scale>36978595.474472</Scale>"
        "<Resolution>9783.93962049996</Resolution></LODInfo>"
    )
    text = text.replace("</LODInfos>", f"{deeper}</LODInfos><!-- ours since 2019 -->")
    conf.write_text(text, encoding="utf-8")
    root.write_text(json.dumps({**json.loads(root.read_text()), "layers": ["wind"]}), encoding="utf-8")
    cdi.write_text(cdi.read_text().replace("</EnvelopeN>", "<Mine>1</Mine></EnvelopeN>"))
    before = files(out)
    run_loop(convert(make(tmp_path / "same", THERE, format="compactv2", extent=EXTENT), out, format=format))
    assert {name: data for name, data in files(out).items() if name in ("conf.xml", "root.json", "conf.cdi")} == {
        name: before[name] for name in ("conf.xml", "root.json", "conf.cdi")
    }
    run_loop(convert(make(tmp_path / "more", MORE, format="compactv2", extent=EXTENT), out, format=format))
    assert "<Antialiasing>true</Antialiasing>" in conf.read_text()
    assert "<!-- ours since 2019 -->" in conf.read_text()
    assert "<Mine>1</Mine>" in cdi.read_text()
    assert json.loads(root.read_text())["layers"] == ["wind"]
    assert held(out) == {**THERE, **MORE}
    with open_cache(out) as reader:
        assert [lod.level for lod in reader.info.scheme.lods] == [0, 1, 2, 3, 4, 5]
