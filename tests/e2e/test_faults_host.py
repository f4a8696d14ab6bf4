"""A whole host in trouble: busy, failing, silent, gone, behind a portal. The run slows down, waits, gives up with the
documented code, and the same command goes on."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.transport import dial
from tests.e2e.claims import HASTY, PATIENT, SMALL, STALLS, TILES, failures, poisoned, script, sums_hold

BRISK = ("--timeout", "3", "--retries", "1", "--json", "-q", "--give-up-after", "4")

LANDED = 0.2
"""Seconds within which requests that were under way when the answer came have reached the server."""


def quiet_after(service: FaultyService, seconds: float) -> bool:
    """True when nothing was asked between the first throttled answer and the end of its pause."""
    first = next(asked for asked in service.log.of("tile") if asked.rule is not None)
    assert first.ended is not None
    return service.log.between(first.ended + LANDED, first.ended + seconds - 0.05) == []


# ------------------------------------------------------------------------------------------------ asked to wait


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_pauses_the_whole_host(serve, cli, tmp_path, status, form):
    """Rows 1 and 2; the date is by the server's own clock, which is a day ahead of ours."""
    busy = Rule(do="status", status=status, retry_after=1 if form == "seconds" else "date+2", skew=86400, requests="20")
    service = serve(script=script(busy))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, *PATIENT)
    assert (result.code, result.json["stored"], result.json["throttled"]) == (0, TILES, 1)
    assert quiet_after(service, 1.0)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_a_retry_after_that_says_nothing_is_no_pause(serve, cli):
    texts = ("date-5", "-5", "soon", "1e9", "", "0")
    rules = (Rule(do="status", status=503, retry_after=text, requests=20 + at) for at, text in enumerate(texts))
    service = serve(script=script(*rules))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["stored"], result.json["throttled"]) == (0, TILES, len(texts))


@pytest.mark.parametrize(("asked", "minutes"), [(3600, "60"), ("date+7200", "120"), (86400, "1440")])
def test_a_pause_longer_than_ten_minutes_stops_the_run_and_says_when_to_come_back(serve, cli, asked, minutes):
    service = serve(script=script(Rule(do="status", status=429, retry_after=asked, requests="20-")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert result.code == 1
    assert result.json["error"]["code"] == "retry_after"
    assert f"{minutes} minutes" in result.err
    assert result.json["pending"] == TILES - result.json["stored"] > 0
    assert sums_hold(result.json)
    service.script = script()
    assert cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY).json["stored"] == TILES


def test_a_pause_longer_than_what_is_left_of_the_time_stops_the_run(serve, cli):
    service = serve(script=script(Rule(do="status", status=429, retry_after=60, requests="20-")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--max-duration", "30s")
    assert (result.code, result.json["error"]["code"]) == (1, "retry_after")


def test_being_throttled_uses_up_no_tries(serve, cli, tmp_path):
    """Row 3: busy without a word of when, and no retry allowed: each tile comes all the same."""
    tries = {429: "1", 503: "1-2"}
    rules = (Rule(do="status", status=code, tiles=(f"3/2/{code % 8}",), tries=tries[code]) for code in tries)
    service = serve(script=script(*rules))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, *PATIENT)
    assert (result.code, result.json["stored"], result.json["throttled"]) == (0, TILES, 3)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_throttling_stated_in_a_200_is_throttling(serve, cli):
    service = serve(script=script(Rule(do="json_error", status=503, tiles=("3/2/2", "3/5/5"), tries="1")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, *PATIENT)
    assert (result.code, result.json["stored"], result.json["throttled"]) == (0, TILES, 2)


def test_a_tile_that_is_always_busy_is_failed_by_every_run_with_exit_1(serve, cli):
    """Also by the later ones, which have nothing else to ask: a tile of the first one tells that the host is well.
    Questions (that one, and tiles looked back at) are counted apart."""
    service = serve(script=script(Rule(do="status", status=503, tiles=("3/2/2",))))
    for kept in (0, TILES - 1):
        before = service.log.count("tile")
        result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--give-up-after", "12")
        report = result.json
        assert (result.code, report["stored"], report["pending"], report["failed"]) == (1, TILES - 1, 0, 1)
        assert (failures(report), report["kept"]) == ({"3/2/2": "http_503"}, kept)
        assert report.get("error") is None
        assert report["tile_requests"] == service.log.count("tile") - before
        assert report["tile_requests"] - report["questions"] <= TILES - kept + 20


@pytest.mark.parametrize("rows", ["0-4", "16-20"])
def test_a_region_that_is_always_busy_is_failed_and_all_other_tiles_are_stored(serve, cli, tmp_path, rows):
    service = serve(script=script(Rule(do="status", status=503, levels="5", rows=rows)))
    # Long enough for a pause or two and for the few seconds in which a known tile vouches for the host.
    result = cli("run", service.url, "--lods", "5", "-o", "out.mbtiles", *HASTY, "--give-up-after", "40")
    report = result.json
    assert (result.code, report["stored"], report["failed"], report["pending"]) == (1, 1024 - 160, 160, 0)
    assert set(failures(report).values()) == {"http_503"}
    assert report.get("error") is None
    assert report["tile_requests"] == service.log.count("tile") <= 1024 + 12 * 160
    assert sums_hold(report)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_that_fails_for_one_tile_uses_up_its_tries(serve, cli, status):
    service = serve(script=script(Rule(do="status", status=status, tiles=("3/2/2",))))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    report = result.json
    assert (result.code, report["stored"], report["failed"], report["throttled"]) == (1, TILES - 1, 1, 0)
    assert failures(report) == {"3/2/2": f"http_{status}"}
    assert service.log.count("tile") == TILES + 1


def test_a_tile_that_always_asks_for_a_pause_does_not_keep_the_others_waiting(serve, cli):
    service = serve(script=script(Rule(do="status", status=503, retry_after=1, tiles=("0/0/0",))))
    command = ("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", *HASTY, "--give-up-after", "8")
    result = cli(*command)
    report = result.json
    assert (result.code, report["stored"], report["failed"], report["pending"]) == (1, 1364, 1, 0)
    assert failures(report) == {"0/0/0": "http_503"}
    busy = [asked.rule is not None for asked in service.log.of("tile")]
    assert sum(busy[: max(at for at, own in enumerate(busy) if not own)]) <= 12, "three pauses, then ever more seldom"
    service.script = script()
    assert cli(*command).json["stored"] == 1365


# ------------------------------------------------------------------------------------------------ failing altogether


@pytest.mark.parametrize("do", [{"do": "status", "status": 500}, {"do": "html"}], ids=["500", "a page"])
def test_a_whole_region_of_bad_tiles_is_failed_and_the_tiles_behind_it_are_stored(serve, cli, tmp_path, do):
    """The second time with nothing else left to ask."""
    service = serve(script=script(Rule(**do, levels="5", rows="0-7")))
    command = ("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", *HASTY)
    for _ in range(2):
        result = cli(*command)
        assert (result.code, result.json["failed"], result.json["stored"]) == (1, 256, 1365 - 256)
        assert result.json.get("error") is None
        assert sums_hold(result.json)
    assert service.log.count("tile") <= 1365 + 3 * 256 + 20
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


@pytest.mark.parametrize(
    "do", [{"do": "status", "status": 500}, {"do": "html"}, {"do": "empty"}, {"do": "status", "status": 403}],
    ids=["500", "a page", "nothing", "403"],
)  # fmt: skip
def test_a_region_of_bad_tiles_that_comes_first_is_told_from_a_bad_host_by_a_tile_elsewhere(serve, cli, do):
    service = serve(script=script(Rule(**do, levels="5", rows="0-7")))
    result = cli("run", service.url, "--lods", "5", "-o", "out.mbtiles", *HASTY)
    report = result.json
    assert (result.code, report["failed"], report["stored"]) == (1, 256, 1024 - 256)
    assert report.get("error") is None
    assert 1 <= report["questions"] <= 12
    assert report["tile_requests"] == service.log.count("tile") <= 1024 + 256 + 12


@pytest.mark.parametrize("status", [403, 500])
def test_tiles_that_stay_bad_are_failed_again_by_the_same_command(serve, cli, status):
    bad = tuple(f"5/{i * 7 % 32}/{i * 11 % 32}" for i in range(30))
    service = serve(script=script(Rule(do="status", status=status, tiles=bad)))
    command = ("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", *HASTY)
    for _ in range(2):
        result = cli(*command)
        assert (result.code, result.json["failed"], result.json["pending"]) == (1, 30, 0)
        assert result.json.get("error") is None
    service.script = script()
    assert (cli(*command).json["stored"], service.log.count("tile") <= 1365 + 120 + 10) == (1365, True)


@pytest.mark.parametrize("do", ["500", "reset_before", "garbage"])
def test_a_host_that_fails_everything_is_asked_little_more_than_the_tiles_tried_and_ends_with_3(serve, cli, do):
    """Row 5, I8: first tries, a few probes, no storm of retries; the untried tiles stay pending."""
    rule = Rule(do="status", status=500) if do == "500" else Rule(do=do)
    service = serve(script=script(rule))
    result = cli("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", *BRISK, "--retries", "5")
    assert result.code == 3
    assert result.json["error"]["code"] == "source_failing"
    tried = len(service.log.tiles())
    assert 20 <= tried < 100
    assert service.log.count("tile") <= 1.1 * tried + 6
    assert result.json["pending"] == 1365 - result.json["failed"] > 1200
    assert len(result.err.strip().splitlines()) == 2
    if do == "500":
        service.script = script()
        again = cli("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", *HASTY)
        assert (again.code, again.json["stored"]) == (0, 1365)


def test_a_host_that_is_busy_for_everything_ends_with_3(serve, cli):
    service = serve(script=script(Rule(do="status", status=503)))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *BRISK)
    assert (result.code, result.json["pending"], result.json["failed"]) == (3, TILES, 0)
    assert service.log.count("tile") < TILES


def test_a_host_that_recovers_is_noticed_by_a_probe(serve, cli, tmp_path):
    service = serve(script=script(Rule(do="status", status=500, requests="10-31")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--retries", "3")
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_connections_that_all_stall_for_a_while_are_made_anew(serve, cli, tmp_path):
    """Row 12."""
    service = serve(script=script(Rule(do="stall", requests="30-45")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, *STALLS, "--retries", "3")
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_a_host_that_falls_silent_for_good_ends_the_run(serve, cli):
    service = serve(script=script(Rule(do="stall", requests="30-")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *BRISK)
    assert result.code in (1, 3)
    assert result.json["stored"] == 29
    assert "timeout" in result.err
    service.script = script()
    assert cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY).json["fetched"] == TILES - 29


def test_a_host_that_goes_away_in_the_middle_ends_the_run_and_it_goes_on_when_it_is_back(serve, cli, tmp_path):
    """Row 20's other half: no connection any more."""
    import threading

    site = ArcGisSite()
    service = FaultyService(site, Script(latency=0.05))
    service.__enter__()
    port = service.port

    def leave() -> None:
        while service.log.count("tile") < 30:
            time.sleep(0.01)
        service.__exit__(None, None, None)

    leaver = threading.Thread(target=leave)
    leaver.start()
    url = service.url
    result = cli("run", url, "--lods", "0-4", "-o", "out.mbtiles", *BRISK, "--concurrency", "4")
    leaver.join()
    assert result.code in (1, 3)
    assert result.json["stored"] > 0 and result.json["pending"] > 0
    assert sums_hold(result.json)
    serve(site, port=port)
    again = cli("run", url, "--lods", "0-4", "-o", "out.mbtiles", *HASTY)
    assert (again.code, again.json["stored"]) == (0, 341)
    assert again.json["kept"] == result.json["stored"]
    assert poisoned(tmp_path / "out.mbtiles", site) == set()


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_name_that_cannot_be_found_any_more_in_the_middle_ends_the_run_and_it_goes_on(
    serve, cli, tmp_path, monkeypatch, comes_back
):
    """Row 20: the resolver fails from the thirtieth tile on, with all connections gone; for good, or for a second."""
    site, real, asked, healed = ArcGisSite(), socket.getaddrinfo, [0], list[bool]()
    service = serve(site, script(Rule(do="close_announced"), latency=0.02))
    port = service.port

    def look_up(name: object, *arguments: object, **settings: object) -> object:
        if name not in ("gis.example.test", b"gis.example.test"):
            return real(name, *arguments, **settings)
        gone = service.log.count("tile") >= 30
        asked[0] += gone
        if gone and not (comes_back and asked[0] > 3) and not healed:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", *arguments, **settings)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setitem(sys.modules, "uvloop", None)  # its resolver is not Python's
    monkeypatch.setattr(dial, "NAMES_KEPT_SECONDS", 0.0)
    url = f"http://gis.example.test:{port}{site.path}"
    command = ("run", url, "--lods", "0-3", "-o", "out.mbtiles", "--concurrency", "4", "--json", "-q")
    result = cli(*command, "--timeout", "20", "--retries", "3", "--give-up-after", "60" if comes_back else "2")
    assert poisoned(tmp_path / "out.mbtiles", site) == set()
    assert sums_hold(result.json)
    if comes_back:
        assert (result.code, result.json["stored"]) == (0, TILES)
        assert asked[0] > 3
        return
    assert result.code in (1, 3)
    assert "dns" in result.err
    assert TILES > result.json["stored"] >= 26
    healed.append(True)
    again = cli(*command, "--timeout", "20")
    assert (again.code, again.json["stored"], again.json["kept"]) == (0, TILES, result.json["stored"])


# ------------------------------------------------------------------------------------------------ something in the way

IN_THE_WAY = {
    "a page": (Rule(do="html"), "page instead of a picture"),
    "an XML error": (Rule(do="html", text='<?xml version="1.0"?><Error/>'), "page instead of a picture"),
    "a login redirect": (Rule(do="redirect", to="login"), "redirected"),
    "a redirect loop": (Rule(do="redirect", to="loop"), "redirected"),
    "a redirect to a file": (Rule(do="redirect", to="file:///etc/passwd"), "redirected"),
    "403": (Rule(do="status", status=403), "refused (403)"),
    "403 in a 200": (Rule(do="json_error", status=403), "refused (403)"),
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_a_portal_in_front_of_every_tile_stops_the_run_soon_with_3(serve, cli, name):
    """Rows 13, 19, 22."""
    rule, words = IN_THE_WAY[name]
    service = serve(script=script(rule))
    result = cli("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["error"]["code"]) == (3, "unusable")
    assert words in result.err
    assert service.log.count("tile") < 200
    assert len(result.err.strip().splitlines()) == 2
    if name == "a page":
        service.script = script()
        again = cli("run", service.url, "--lods", "0-5", "-o", "out.mbtiles", *HASTY)
        assert (again.code, again.json["stored"]) == (0, 1365)


def test_a_portal_that_comes_in_the_middle_ends_the_run_with_3_and_poisons_nothing(serve, cli, tmp_path):
    service = serve(script=script(Rule(do="html", requests="200-")))
    command = ("run", service.url, "--lods", "0-5", "-o", "out.mbtiles")
    result = cli(*command, *BRISK, "--retries", "5")
    assert (result.code, result.json["error"]["code"]) == (3, "source_failing")
    assert "not_an_image" in result.err
    assert result.json["stored"] == 199
    assert result.json["pending"] == 1365 - 199
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    service.script = script()
    assert cli(*command, *HASTY).json["fetched"] == 1365 - 199


def test_an_arcgis_error_404_for_every_tile_is_no_empty_success(serve, cli):
    """Row 14: its code counts as if it were the status."""
    service = serve(script=script(Rule(do="json_error", status=404)))
    result = cli("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["error"]["code"]) == (3, "every_tile_404")
    service.script = script()
    assert cli("run", service.url, "--lods", "0-3", "-o", "out.mbtiles", *HASTY).json["fetched"] == 85


def test_403_on_a_region_fails_its_tiles_and_the_run_goes_on(serve, cli):
    service = serve(script=script(Rule(do="status", status=403, levels="3", cols="4-7")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["failed"], result.json["stored"]) == (1, 32, TILES - 32)
    assert set(failures(result.json).values()) == {"forbidden"}


# ------------------------------------------------------------------------------------------------ not there at all


def test_a_name_that_cannot_be_found_is_exit_3(cli, tmp_path):
    """Row 20."""
    result = cli("run", "https://gis.nowhere.invalid/arcgis/rest/services/A/MapServer", "-o", "out.mbtiles", "--json")
    assert result.code == 3
    assert "gis.nowhere.invalid" in result.err and "can't be found" in result.err
    assert len(result.err.strip().splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_port_where_nobody_listens_is_exit_3(cli, serve, tmp_path):
    service = FaultyService()
    with service:
        url = service.url
    result = cli("run", url, "-o", "out.mbtiles", "--json")
    assert (result.code, result.json["error"]["code"]) == (3, "source")
    assert "no connection" in result.err
    assert list(tmp_path.iterdir()) == []


DOCUMENT_FAULTS = {
    "reset": Rule(do="reset_before", kind="document", requests="1-2"),
    "cut": Rule(do="truncate", kind="document", requests="1-2"),
    "503": Rule(do="status", status=503, retry_after=1, kind="document", requests="1"),
    "500 in a 200": Rule(do="json_error", status=500, kind="document", requests="1"),
    "a stall": Rule(do="stall", kind="document", requests="1"),
}


@pytest.mark.parametrize("name", DOCUMENT_FAULTS)
def test_a_passing_fault_of_the_service_document_is_waited_out(serve, cli, name):
    service = serve(script=script(DOCUMENT_FAULTS[name]))
    result = cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY, *STALLS)
    assert (result.code, result.json["stored"]) == (0, 5)
    assert result.json["requests"] == service.log.count()


def test_a_document_that_asks_for_an_hour_is_told_not_waited_for(serve, cli, tmp_path):
    service = serve(script=script(Rule(do="status", status=503, retry_after=3600, kind="document")))
    result = cli("run", service.url, "-o", "out.mbtiles", *HASTY)
    assert result.code == 3
    assert "come back in 60 minutes" in result.err
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ clocks, spectators


@pytest.mark.parametrize("day", [86400.0, -86400.0])
def test_a_wall_clock_that_jumps_changes_no_limit_and_no_report(serve, cli, tmp_path, monkeypatch, day):
    """Row 39: every limit is by the monotonic clock."""
    service = serve(script=script(Rule(do="status", status=503, retry_after="date+1", requests="20")))
    real, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + (day if calls[0] % 2 else 0.0)

    monkeypatch.setattr(time, "time", jumping)
    command = ("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY, "--max-duration", "60s", "--progress", "json")
    result = cli(*command)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert 0 <= result.json["seconds"] < 60
    assert '"eta_seconds": -' not in result.err
