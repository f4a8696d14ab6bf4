"""Every verb's errors, by exit code: two lines for a person, one document for a program, and nothing else anywhere."""

from __future__ import annotations

import gc
import json
import shlex
import sys

import pytest

from harvester.cli.convert import finished
from harvester.cli.main import VERBS
from harvester.testing.service import ArcGisSite, FaultyService
from tests.e2e.claims import command

NOWHERE = "http://127.0.0.1:9/arcgis/rest/services/A/MapServer"
"""Port 9 of this machine: nobody listens there."""

FTP, FILE, TEMPLATE = "ftp://h.invalid/A", "file:///etc/passwd", "https://h.invalid/{z}/{x}/{y}.png"
"""What can be no service's address, whatever answers there."""

PACKAGE = "--export-cache-type TILE_PACKAGE --storage-format-type COMPACT_V2 --scales 591657527.591555"

ERRORS: dict[str, dict[int, tuple[str, ...]]] = {
    "scales": {
        2: ("", "SERVICE --nonsense", "'' ", "SERVICE --timeout 0", FTP, FILE, TEMPLATE), 3: (NOWHERE, "nowhere.json"),
    },
    "plan": {
        2: ("", "nowhere.toml", "SERVICE --bbox 1,2,3", "SERVICE --lods 99", "SERVICE --sample 0", "bad.toml",
            "ftp.toml", FTP, FILE, TEMPLATE, f"{FTP} --sample 1m", "https://h.invalid/home/item.html"),
        3: (NOWHERE,),
    },
    "run": {
        2: (
            "", "SERVICE", "SERVICE -o out.tif", "SERVICE -o out --mode replace",
            "SERVICE -o out --concurrency x", "SERVICE -o out --format gif", "SERVICE -o out --aoi nowhere.geojson",
            "SERVICE -o out --ca-bundle nowhere.pem", "SERVICE -o out --lods 0-13", "bad.toml",
            "ftp.toml", f"{FTP} -o out.mbtiles", f"{FILE} -o out.mbtiles", f"{TEMPLATE} -o out.mbtiles",
            "nothere -o out.mbtiles",
        ),
        3: (f"{NOWHERE} -o out.mbtiles", "SERVICE -o out.mbtiles --token-env NOT_SET_ANYWHERE"),
        4: (
            "SERVICE -o letter.mbtiles --lods 0", "SERVICE -o folder --lods 0",
            "SERVICE -o a.mbtiles --format tpkx --lods 0",
            "FOREIGN -o out.mbtiles --lods 0", "FOREIGN -o a.mbtiles --lods 0",
        ),
    },
    "verify": {2: ("", "a.mbtiles --nonsense"), 4: ("nowhere.mbtiles",)},
    "holes": {2: ("",), 4: ("nowhere.mbtiles", "letter.mbtiles", "a.mbtiles -o no/where/h.geojson")},
    "why": {2: ("", "a.mbtiles 1/2", "a.mbtiles 99/0/0", "a.mbtiles 1/5/5"), 4: ("nowhere.mbtiles 1/0/0",)},
    "report": {
        2: ("", "a.mbtiles --run 99"), 4: ("nowhere.mbtiles", "letter.mbtiles", "a.mbtiles --html no/where/r.html"),
    },
    "info": {2: ("",), 4: ("nowhere.mbtiles", "letter.mbtiles", "folder", "'~/nowhere.mbtiles'")},
    "tile": {
        2: ("", "SERVICE 1-2-3", "SERVICE 99/0/0", f"{FTP} 0/0/0", f"{FILE} 0/0/0", f"{TEMPLATE} 0/0/0"),
        3: (f"{NOWHERE} 0/0/0", "nowhere.mbtiles 0/0/0"),
        4: ("a.mbtiles 0/0/0 -o no/where/t.png",),
    },
    "convert": {
        2: ("", "a.mbtiles", "a.mbtiles out.tif", "a.mbtiles out --format gif"),
        4: ("nowhere.mbtiles out.tpkx", "letter.mbtiles out.tpkx", "a.mbtiles letter.mbtiles"),
    },
    "merge": {2: ("", "a.mbtiles", "-o out.mbtiles", "a.mbtiles -o out.tif"), 4: ("nowhere.mbtiles -o out.mbtiles",)},
    "diff": {2: ("", "a.mbtiles a.mbtiles", "a.mbtiles a.mbtiles -o d.tif"), 4: ("a.mbtiles nowhere.mbtiles -o d",)},
    "apply": {
        2: ("", "a.mbtiles", "a.mbtiles a.mbtiles"),
        4: ("nowhere.mbtiles a.mbtiles", "letter.mbtiles a.mbtiles"),
    },
    "export": {
        2: ("", "SERVICE", "SERVICE out --export-cache-type ZIP", "SERVICE out --scales x", "SERVICE out --scales 3",
            f"{FTP} out", f"{FILE} out", f"{TEMPLATE} out"),
        3: (f"{NOWHERE} out",),
        4: (f"SERVICE there {PACKAGE}",),
    },
    "demo": {2: ("-o letter.mbtiles",)},
}  # fmt: skip
"""By verb and exit code: what is wrong in each way that a person comes to it."""

CASES = [(verb, code, words) for verb, codes in ERRORS.items() for code, lines in codes.items() for words in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a sound cache and things that are none, and two services."""
    from harvester.testing import schemes

    folder = tmp_path_factory.mktemp("errors")
    with FaultyService(ArcGisSite()) as service, FaultyService(ArcGisSite(grid=schemes.UTM_PHILADELPHIA)) as foreign:
        assert command("run", service.url, "-o", folder / "a.mbtiles", "--lods", "0-2", "-q").code == 0
        (folder / "letter.mbtiles").write_text("Dear Sir or Madam")
        (folder / "folder").mkdir()
        (folder / "folder" / "letter").write_text("mine")
        (folder / "there").mkdir()
        (folder / "there" / "Streets.tpkx").write_text("mine")
        (folder / "bad.toml").write_text("[policy]\n")
        (folder / "ftp.toml").write_text(f'source = "{FTP}"\noutput = "ftp.mbtiles"\n[[policy]]\nlods = [0]\n')
        yield folder, {"SERVICE": service.url, "FOREIGN": foreign.url}


def arguments(words: str, urls: dict[str, str]) -> list[str]:
    for name, url in urls.items():
        words = words.replace(name, url)
    return shlex.split(words)


def listing(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_every_verb_is_in_the_table():
    assert ERRORS.keys() == VERBS.keys()
    for verb, codes in ERRORS.items():
        reachable = {2} | ({3} if verb in ("scales", "plan", "run", "tile", "export") else set())
        reachable |= {4} if verb not in ("scales", "plan", "demo") else set()
        assert codes.keys() == reachable


@pytest.mark.parametrize(("verb", "code", "words"), CASES)
def test_an_error_is_two_lines_on_stderr_and_nothing_on_stdout(place, cli, monkeypatch, verb, code, words):
    folder, urls = place
    monkeypatch.chdir(folder)
    before = listing(folder)
    result = cli(verb, *arguments(words, urls))
    assert result.code == code, result.err
    assert result.out == ""
    lines = result.err.rstrip("\n").split("\n")
    notes = [line for line in lines if line.startswith("note: ")]
    said = [line for line in lines if line not in notes]
    assert len(said) == 2, result.err
    assert said[0].startswith("error: ") and len(said[0]) > len("error: ")
    assert not said[1][0].islower() or said[1].startswith("harvester "), said[1]
    assert all(len(line) < 700 for line in said)
    assert listing(folder) == before


@pytest.mark.parametrize(("verb", "code", "words"), CASES)
def test_an_error_as_json_is_one_document_with_what_was_said(place, cli, monkeypatch, verb, code, words):
    folder, urls = place
    monkeypatch.chdir(folder)
    result = cli(verb, *arguments(words, urls), "--json")
    assert result.code == code
    document = json.loads(result.out)
    assert document.keys() == {"error"} and document["error"].keys() == {"code", "message", "hint"}
    assert all(document["error"].values())
    assert f"error: {document['error']['message']}\n{document['error']['hint']}\n" in result.err
    assert "Traceback" not in result.out + result.err


@pytest.mark.filterwarnings("error")
def test_a_verb_that_is_stopped_while_it_begins_says_nothing_of_coroutines(monkeypatch):
    """A signal may come while modules are imported: then the work, which was made before, is never begun."""

    class Interrupting:
        def find_spec(self, name, path=None, target=None):
            if name == "harvester.loop":
                raise KeyboardInterrupt

    async def work():
        return 1

    assert finished(work()) == 1
    monkeypatch.delitem(sys.modules, "harvester.loop")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        finished(work())
    gc.collect()


def test_a_word_that_is_neither_file_nor_address_is_said_to_be_neither(cli):
    for verb in (("plan",), ("run", "-o", "out.mbtiles"), ("scales",)):
        result = cli(verb[0], "nothere", *verb[1:])
        assert (result.code, result.out) == (2, "")
        assert "neither a file here nor an address" in result.err
        assert "job file" in result.err


def test_a_mistyped_job_file_is_no_host_and_the_one_that_is_there_is_named(cli, tmp_path):
    (tmp_path / "jobs").mkdir()
    for folder in ("", "jobs/"):
        (tmp_path / folder / "streets.toml").write_text("")
        for verb in (("run", "-o", "out.mbtiles"), ("plan",), ("scales",)):
            result = cli(verb[0], f"{folder}streets.tom", *verb[1:])
            assert result.code == 3
            assert "is not there as a file" in result.err and f"Did you mean {folder}streets.toml?" in result.err


def test_a_path_that_no_system_knows_is_exit_2(cli):
    for words in (("verify", "a\0b.mbtiles"), ("convert", "a.mbtiles", "b\0.mbtiles"), ("info", "a\0b")):
        result = cli(*words)
        assert result.code == 2
        assert "defect" not in result.err
