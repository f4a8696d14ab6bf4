"""Secrets appear nowhere: not on screen, in logs, caches, ledgers, reports or errors, whatever the command and however
it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.cli.main import VERBS
from harvester.testing.proxy import ProxyServer
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.tickets import TicketOffice
from tests.e2e.claims import everything_in, script

CANARY = "canary"
"""In every secret of these tests, and in nothing else."""

TOKEN = "canary-token-4711"
SMALL = ("--lods", "0-2")
HASTY = ("--timeout", "1", "--retries", "1", "--give-up-after", "1")

WAYS = {
    "token in the address": ("?token=" + TOKEN, ()),
    "token in the environment": ("", ("--token-env", "MAP_TOKEN")),
    "a login": ("", ("--username", "surveyor", "--password-env", "MAP_PASSWORD")),
    "headers": (
        "?token=" + TOKEN,
        ("--header", "X-Api-Key: canary-key", "--header", "Cookie: session=canary-cookie", "--header", "X-Who: canary"),
    ),
    "a login in the address": ("@", ()),
}

FORMATS = ("out.tpkx", "out.mbtiles", "out", "out.tpkx", "out.mbtiles")
"""One for each way."""

FAULTS = {
    "nothing": (),
    "500": (Rule(do="status", status=500, share=0.5, text="no: canary-token-4711"),),
    "resets": (Rule(do="reset_inside", share=0.5),),
    "redirects": (Rule(do="redirect", to="/login?token=canary-token-4711"),),
    "498": (Rule(do="json_error", status=498, text="Invalid token: canary-token-4711"),),
    "no document": (Rule(do="json_error", status=498, text="Invalid token: canary-token-4711", kind="document"),),
    "document 500": (Rule(do="status", status=500, kind="document"),),
    "document elsewhere": (Rule(do="redirect", to="http://other.invalid/?token=canary-token-4711", kind="document"),),
    "document is a page": (Rule(do="html", text="<html>canary-token-4711</html>", kind="document"),),
    "document is cut": (Rule(do="truncate", kind="document"),),
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAP_TOKEN", TOKEN)
    monkeypatch.setenv("MAP_PASSWORD", "canary-password")


def secured() -> ArcGisSite:
    office = TicketOffice(tokens={TOKEN}, username="surveyor", password="canary-password")
    return ArcGisSite(office=office, tilemap="on")


def typed(service: FaultyService, end: str) -> str:
    if end == "@":
        return service.url.replace("//", "//surveyor:canary-password@") + "?token=" + TOKEN
    return service.url + end


class Kept:
    """Everything that commands said and left behind."""

    def __init__(self, cli, folder: Path) -> None:
        self._cli = cli
        self._folder = folder
        self.said = ""

    def __call__(self, *arguments: object):
        result = self._cli(*arguments, "--debug", "--log-file", "log.txt")
        self.said += result.out + result.err
        return result

    @property
    def leak(self) -> str:
        """The surroundings of the first secret that is found anywhere; empty: there is none."""
        for text in (self.said, everything_in(self._folder).decode("latin-1")):
            at = text.lower().find(CANARY)
            if at >= 0:
                return text[max(0, at - 200) : at + 60]
        return ""


@pytest.fixture
def kept(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    from harvester.cli.frame import run
    from tests.e2e.conftest import Result

    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments], VERBS)
        return Result(code, *capsys.readouterr())

    yield Kept(call, tmp_path)


@pytest.mark.parametrize(("way", "out"), list(zip(WAYS, FORMATS, strict=True)))
def test_no_secret_is_in_anything_that_commands_say_or_write(serve, kept, way, out):
    service = serve(secured())
    end, options = WAYS[way]
    source = (typed(service, end), *options)
    assert kept("scales", *source).code == 0
    assert kept("plan", *source, *SMALL, "--sample", "2").code == 0
    assert kept("run", *source, *SMALL, "-o", out, "--report", "report.json", "--progress", "json").code == 0
    assert kept("run", *source, "--lods", "0-3", "-o", out, "--max-tiles", "20", "--json").code == 1
    assert kept("tile", *source, "0/0/0", "-o", "tile.png").code == 0
    for verb in ("verify", "info", "holes", "report"):
        if verb in VERBS:
            assert kept(verb, out).code in (0, 1)
            assert kept(verb, out, "--json").code in (0, 1)
    if "why" in VERBS:
        assert kept("why", out, "2/1/1").code == 0
    if "report" in VERBS:
        assert kept("report", out, "--html", "report.html").code == 0
    assert kept.leak == ""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["token in the address", "a login"])
def test_no_secret_is_in_an_error(serve, kept, way, fault):
    service = serve(secured(), script(*FAULTS[fault]))
    end, options = WAYS[way]
    result = kept("run", typed(service, end), *options, *SMALL, "-o", "out.mbtiles", *HASTY, "--json")
    assert result.code in (0, 1, 3)
    for verb in ("verify", "report"):
        if verb in VERBS and Path("out.mbtiles").exists():
            kept(verb, "out.mbtiles")
    assert kept.leak == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "https://surveyor:canary-password@nowhere.invalid/MapServer?token=canary", "-o", "out.mbtiles"),
        ("https://nowhere.invalid/MapServer?token=canary",),
        ("run", "https://nowhere.invalid/A/MapServer", "https://nowhere.invalid/?token=canary"),
        ("run", "ftp://nowhere.invalid/A/MapServer?token=canary", "-o", "out"),
        ("run", "https://nowhere.invalid:99999/A/MapServer?token=canary", "-o", "out"),
        ("run", "https://[nowhere/A/MapServer?token=canary", "-o", "out"),
        ("run", "nowhere.json?token=canary", "-o", "out"),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--token-env", "canary token"),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--token", "canary"),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--token=canary"),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--header", "Authorization Bearer canary"),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--header", "X-Key: canary\x01"),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--header", "canary"),
        (
            "run",
            "https://nowhere.invalid/A/MapServer",
            "-o",
            "out",
            "--proxy",
            "http://me:canary@nowhere.invalid:99999",
        ),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--proxy", "me:canary@nowhere.invalid:1"),
        ("run", "https://nowhere.invalid/A/MapServer", "-o", "out", "--proxy", "http://me:canary@nowhere.invalid:1"),
    ],
    ids=range(16),
)
def test_no_secret_is_in_the_error_about_a_mistyped_command(kept, tmp_path, arguments):
    result = kept(*arguments)
    assert result.code in (2, 3)
    assert kept.leak == ""


@pytest.mark.parametrize(
    "text",
    [
        'source = "https://h.invalid/A/MapServer?token=canary"',
        'source = "https://me:canary@h.invalid/A/MapServer"',
        'source = "https://h.invalid/A/MapServer"\ntoken = "canary"',
        'source = "https://h.invalid/A/MapServer"\n[auth]\ntoken = "canary"',
        'source = "https://h.invalid/A/MapServer"\n[auth]\npassword = "canary"',
        'source = "https://h.invalid/A/MapServer"\n[auth]\ntoken_env = "canary=="',
        'source = "https://h.invalid/A/MapServer"\n[auth]\nusername = "u"\npassword_env = "canary!"',
        'source = "https://h.invalid/A/MapServer"\nproxy = "http://me:canary@p.invalid:8080"',
        'source = "https://h.invalid/A/MapServer"\n[headers]\nAuthorization = "Bearer canary"',
        'source = "https://h.invalid/A/MapServer"\n[headers]\ncookie = "agolsession=canary"',
        'source = "https://h.invalid/A/MapServer"\n[headers]\nProxy-Authorization = "Basic canary"',
        'source = "https://h.invalid/A/MapServer"\n[headers]\nX-Api-Key = "canary"',
        'source = "https://h.invalid/A/MapServer"\n[headers]\nX-Esri-Authorization = "Bearer canary"',
        'source = "https://h.invalid/A/MapServer"\n[headers]\nX-My-Secret = "canary"',
        'source = "https://h.invalid/A/MapServer"\n[headers]\nX-Session = "canary"',
    ],
)
def test_a_secret_in_a_job_file_is_refused_without_being_repeated(kept, tmp_path, text):
    (tmp_path / "job.toml").write_text(
        text + "\n" if "output" in text else text.replace("source", 'output="out"\nsource')
    )
    result = kept("run", "job.toml", "--json")
    (tmp_path / "job.toml").unlink()
    assert result.code == 2
    assert json.loads(result.out)["error"]["hint"]
    assert kept.leak == ""


@pytest.mark.parametrize("way", WAYS)
def test_the_command_that_allows_a_large_plan_is_shown_without_secrets(serve, kept, way):
    end, options = WAYS[way]
    service = serve(secured())
    result = kept("run", typed(service, end), *options, "--lods", "12", "-o", "out.mbtiles")
    assert result.code == 2
    shown = next(line for line in result.err.splitlines() if "--max-tiles 16777216" in line)
    assert "harvester run" in shown and "-o out.mbtiles" in shown and "--lods 12" in shown
    assert kept.leak == ""


def test_no_secret_of_a_proxy_is_said_or_sent_on(serve, kept):
    service = serve()
    with ProxyServer(credentials="me:canary-proxy") as proxy:
        secret = proxy.url.replace("//", "//me:canary-proxy@")
        assert kept("run", service.url, *SMALL, "-o", "out.mbtiles", "--proxy", secret).code == 0
        wrong = proxy.url.replace("//", "//me:canary-wrong@")
        assert kept("run", service.url, *SMALL, "-o", "other.mbtiles", "--proxy", wrong).code == 3
    assert kept("run", service.url, *SMALL, "-o", "other.mbtiles", "--proxy", secret).code == 3
    assert not any(b"canary" in asked.raw for asked in service.log)
    assert kept.leak == ""


def test_no_secret_is_in_what_a_defect_says(serve, kept, monkeypatch):
    """A crash of our own, with the secret in its words and in those of its cause."""

    real, crashed = json.dumps, list[bool]()

    def crash(*arguments: object, **settings: object) -> str:
        if threading.current_thread() is not threading.main_thread() or crashed:  # the server's; the complaint's own
            return real(*arguments, **settings)
        crashed.append(True)
        try:
            raise OSError("https://h.invalid/?token=canary")
        except OSError as cause:
            raise ZeroDivisionError("GET https://me:canary@h.invalid/?token=canary") from cause

    url = serve().url
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", crash)
        result = kept("plan", url, "--lods", "0-1", "--json")
    assert result.code == 1
    assert "a defect of harvester" in result.err
    assert kept.leak == ""


def test_a_run_that_is_killed_leaves_no_secret(serve, spawn, tmp_path):
    service = serve(secured(), Script(latency=0.05))
    process = spawn(
        *("run", service.url + "?token=" + TOKEN, "--lods", "0-4", "-o", "out.tpkx", "--progress", "json", "--debug"),
        *("--log-file", "log.txt", "--header", "X-Api-Key: canary-key"),
    )
    for line in process.stderr:
        if json.loads(line)["type"] == "progress":
            break
    process.kill()
    out, err = process.communicate(timeout=30)
    assert CANARY not in out + err
    assert CANARY.encode() not in everything_in(tmp_path)
    assert (tmp_path / "out.tpkx.ledger").exists()
