"""LODs that a person annotated in conf.xml: others are added between them, and no word of theirs goes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from harvester.caches import conf
from harvester.delta.join import merge
from harvester.loop import run_loop
from tests.delta.making import SUFFIX, held, make, some

NOTES = ("<!-- mine -->", "<!-- in -->", "<Mine>1</Mine>", "<!-- two -->")

ELEMENT = re.compile(r"<LODInfo\b.*?</LODInfo>", re.DOTALL)


def annotated(text: str) -> str:
    """LODs 1, 2 and 4 alone, with a person's words in and between them; the numbers of LOD 2 in a spelling of hers."""
    lods = [one for one in ELEMENT.findall(text) if any(f"<LevelID>{level}<" in one for level in (1, 2, 4))]
    one, two, four = lods
    one = one.replace("<LevelID>1", f"<LevelID>{NOTES[1]}1").replace("</LODInfo>", f"{NOTES[2]}</LODInfo>")
    two = two.replace("<Scale>", "<Scale> 0").replace("</LODInfo>", f"{NOTES[3]}</LODInfo>")
    made = f"{NOTES[0]}\n{one}\n\t{two}\n\t{four}\n"
    return re.sub(r"(<LODInfos[^>]*>).*(</LODInfos>)", lambda found: found[1] + made + found[2], text, flags=re.DOTALL)


def edit(path: Path) -> None:
    if path.is_dir():
        name = path / "conf.xml"
        name.write_bytes(annotated(name.read_text(encoding="utf-8")).encode())
        return
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in members:
            is_conf = info.filename.lower().endswith("conf.xml")
            archive.writestr(info, annotated(data.decode()).encode() if is_conf else data)


def conf_of(path: Path) -> str:
    if path.is_dir():
        return (path / "conf.xml").read_text(encoding="utf-8")
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.lower().endswith("conf.xml"))).decode()


@pytest.mark.parametrize("format", ["compact", "compactv2", "exploded", "tpk"])
def test_what_a_person_wrote_into_lods_stays_when_others_are_added(tmp_path: Path, format: str) -> None:
    there, more = some("1/1/1", "4/4/4"), some("0/0/0", "3/2/2", "5/9/9", first=40)
    out = make(tmp_path / f"out{SUFFIX[format]}", there, format=format)
    edit(out)
    before = conf_of(out)
    assert all(note in before for note in NOTES) and len(ELEMENT.findall(before)) == 3
    assert run_loop(merge([make(tmp_path / "more.mbtiles", more, format="mbtiles")], out, format=format)).exit_code == 0
    after = conf_of(out)
    assert [lod.level for lod in conf.parse_lods(after.encode(), "conf.xml")] == [0, 1, 2, 3, 4, 5]
    for part in ELEMENT.findall(before):
        assert after.count(part) == 1
    words = re.sub(r"<LODInfo\b[^>]*><LevelID>[035]<.*?</LODInfo>", "", after)
    assert words == before
    assert held(out) == {**there, **more}
