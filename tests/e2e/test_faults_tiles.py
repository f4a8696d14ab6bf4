"""One tile's own faults, on real sockets: what passes ends complete and byte-exact, what stays is listed with its
reason, nothing wrong is ever stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harvester.testing.script import Rule, Script
from harvester.testing.service import FaultyService
from harvester.tiling.tile import Tile
from tests.e2e.claims import HASTY, SMALL, STALLS, TILES, command, failures, held, poisoned, script, sums_hold

OUTPUTS = ("out.mbtiles", "out", "out.tpkx")

PASSING: dict[str, Rule] = {
    "a 500": Rule(do="status", status=500),
    "a 501": Rule(do="status", status=501),
    "a 408": Rule(do="status", status=408),
    "a 409": Rule(do="status", status=409),
    "a 421": Rule(do="status", status=421),
    "a 423": Rule(do="status", status=423),
    "a 425": Rule(do="status", status=425),
    "a 304 that nobody asked for": Rule(do="status", status=304),
    "a reset before the answer": Rule(do="reset_before"),
    "a reset inside the body": Rule(do="reset_inside"),
    "a close before the answer": Rule(do="close_before"),
    "a body cut below its length": Rule(do="truncate"),
    "a body cut in its last byte": Rule(do="truncate", at=0.99),
    "a body without a length, cut": Rule(do="truncate_unframed"),
    "chunks without an end": Rule(do="truncate_chunked"),
    "a chunk of no size": Rule(do="bad_chunk"),
    "a length that is no number": Rule(do="bad_length"),
    "two lengths": Rule(do="answer", headers={"Content-Length": "7"}),
    "a stall before the answer": Rule(do="stall"),
    "a stall inside the body": Rule(do="stall_inside"),
    "a body byte by byte": Rule(do="drip"),
    "a head byte by byte": Rule(do="drip_head"),
    "an HTML page": Rule(do="html"),
    "an ArcGIS error 500 in a 200": Rule(do="json_error", status=500),
    "an ArcGIS error without a code in a 200": Rule(do="json_error", status=1),
    "an empty 200": Rule(do="empty"),
    "a picture of another size": Rule(do="wrong_size"),
    "a picture that is cut": Rule(do="cut_image"),
    "a flipped byte": Rule(do="flipped", at=0.5),
    "a redirect to itself": Rule(do="redirect", to="loop"),
    "a redirect to a login page": Rule(do="redirect", to="login"),
    "a redirect to a file": Rule(do="redirect", to="file:///etc/passwd"),
    "an endless body": Rule(do="endless"),
    "a gzip bomb": Rule(do="gzip_bomb"),
    "broken gzip": Rule(do="broken_gzip"),
    "a header of 20 KB": Rule(do="big_header"),
    "garbage for a status line": Rule(do="garbage"),
}
"""Faults that come once for a tile of their own and then are over (rows 4, 6 to 11, 13, 14, 16, 22, 24 to 27)."""

LEGAL: dict[str, Rule] = {
    "another content type": Rule(do="wrong_type"),
    "an interim answer": Rule(do="informational"),
    "chunks": Rule(do="chunked"),
    "no length, closed at the end": Rule(do="unframed"),
    "gzip": Rule(do="gzip"),
    "an announced close": Rule(do="close_announced"),
}
"""Odd but right: taken at once."""

STAYING: dict[str, tuple[Rule, str]] = {
    "500": (Rule(do="status", status=500), "http_500"),
    "304": (Rule(do="status", status=304), "http_304"),
    "400": (Rule(do="status", status=400), "http_400"),
    "408": (Rule(do="status", status=408), "http_408"),
    "403": (Rule(do="status", status=403), "forbidden"),
    "reset before": (Rule(do="reset_before"), "reset"),
    "reset inside": (Rule(do="reset_inside"), "truncated"),
    "close before": (Rule(do="close_before"), "reset"),
    "truncate": (Rule(do="truncate"), "truncated"),
    "truncate unframed": (Rule(do="truncate_unframed"), "truncated"),
    "truncate chunked": (Rule(do="truncate_chunked"), "truncated"),
    "bad chunk": (Rule(do="bad_chunk"), "protocol"),
    "bad length": (Rule(do="bad_length"), "protocol"),
    "stall": (Rule(do="stall"), "timeout"),
    "stall inside": (Rule(do="stall_inside"), "timeout"),
    "drip": (Rule(do="drip"), "timeout"),
    "html": (Rule(do="html"), "not_an_image"),
    "json 500": (Rule(do="json_error", status=500), "http_500"),
    "json 400": (Rule(do="json_error", status=400), "http_400"),
    "json 403": (Rule(do="json_error", status=403), "forbidden"),
    "empty": (Rule(do="empty"), "empty"),
    "wrong size": (Rule(do="wrong_size"), "wrong_size"),
    "cut image": (Rule(do="cut_image"), "truncated"),
    "flipped": (Rule(do="flipped", at=0.5), "corrupt"),
    "redirect loop": (Rule(do="redirect", to="loop"), "redirect"),
    "redirect to a file": (Rule(do="redirect", to="file:///etc/passwd"), "redirect"),
    "endless": (Rule(do="endless"), "too_large"),
    "bomb": (Rule(do="gzip_bomb"), "too_large"),
    "broken gzip": (Rule(do="broken_gzip"), "protocol"),
    "big header": (Rule(do="big_header"), "protocol"),
    "garbage": (Rule(do="garbage"), "protocol"),
}
"""Faults that stay, and what the report says of their tile."""

AT_ONCE = {"400", "403", "json 400", "json 403"}
"""Answers that asking again does not change."""

UNBEGUN = {"reset before", "close before"}
"""Where it happens to an old connection it is a race of keep-alive, and one request more that is no try of the tile."""

ABSENT: dict[str, Rule] = {
    "404": Rule(do="status", status=404),
    "404 with a page": Rule(do="status", status=404, text="<html>no such tile</html>"),
    "204": Rule(do="no_content"),
    "404 stated in a 200": Rule(do="json_error", status=404),
    "blank-tile header": Rule(do="blank_tile"),
}
"""The source says that there is no such tile (row 17)."""


def places(names: Any) -> dict[str, Tile]:
    """A tile of level 3 for each name, spread so that no long row of first tries fails."""
    return {name: Tile(3, *divmod(index * 5 % 64, 8)) for index, name in enumerate(names)}


@dataclass
class Ran:
    """A run that met one fault of each kind, and the run after it on the healed service."""

    service: FaultyService
    path: Path
    code: int
    report: Any
    at: dict[str, Tile]
    first: dict[Tile, bytes]
    asked: dict[Tile, int]


def ran(folder: Path, name: str, rules: dict[str, Rule]) -> Iterator[Ran]:
    at = places(rules)
    service = FaultyService(
        script=Script(rules=tuple(replace(rule, tiles=(str(at[key]),)) for key, rule in rules.items()))
    )
    with service:
        path = folder / name
        result = command("run", service.url, *SMALL, "-o", path, *HASTY, *STALLS)
        yield Ran(service, path, result.code, result.json, at, held(path), dict(service.log.tiles()))


@pytest.fixture(scope="module", params=OUTPUTS)
def passing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Every passing and every legal oddity in one run."""
    rules = {key: replace(rule, tries="1") for key, rule in PASSING.items()} | LEGAL
    yield from ran(tmp_path_factory.mktemp("passing"), request.param, rules)


@pytest.fixture(scope="module", params=OUTPUTS)
def staying(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Every staying fault in one run, absent tiles too."""
    rules = {key: rule for key, (rule, _) in STAYING.items()} | ABSENT
    yield from ran(tmp_path_factory.mktemp("staying"), request.param, rules)


def test_a_run_that_met_every_passing_fault_is_complete_and_byte_exact(passing: Ran) -> None:
    report = passing.report
    assert failures(report) == {}
    assert (passing.code, report["complete"], report["stored"]) == (0, True, TILES)
    assert passing.first == {tile: passing.service.site.body(tile) for tile in passing.first}
    assert len(passing.first) == TILES
    assert sums_hold(report)


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_asked_again_once(passing: Ran, name: str) -> None:
    assert passing.asked[passing.at[name]] == 2


@pytest.mark.parametrize("name", LEGAL)
def test_what_is_odd_but_right_is_taken_at_once(passing: Ran, name: str) -> None:
    assert passing.asked[passing.at[name]] == 1


def test_the_report_counts_every_retry_that_the_server_saw(passing: Ran) -> None:
    assert passing.report["retries"] == len(PASSING)
    assert passing.report["tile_requests"] == passing.service.log.count("tile") == TILES + len(PASSING)


def test_a_run_with_staying_faults_ends_with_1_and_lists_exactly_those_tiles(staying: Ran) -> None:
    report = staying.report
    reasons = failures(report)
    inside = str(staying.at["reset inside"])
    if reasons[inside] == "reset":  # which of the two depends on whether the reset overtakes the bytes before it
        reasons[inside] = "truncated"
    assert reasons == {str(staying.at[name]): reason for name, (_, reason) in STAYING.items()}
    assert (staying.code, report["failed"], report["absent"]) == (1, len(STAYING), len(ABSENT))
    assert sums_hold(report)


@pytest.mark.parametrize("name", [*STAYING, *ABSENT])
def test_a_tile_that_did_not_come_whole_is_not_stored(staying: Ran, name: str) -> None:
    assert staying.at[name] not in staying.first


@pytest.mark.parametrize("name", STAYING)
def test_a_staying_fault_is_asked_as_often_as_retries_say(staying: Ran, name: str) -> None:
    tries = 1 if name in AT_ONCE else 2
    assert staying.asked[staying.at[name]] in ((tries, tries + 1) if name in UNBEGUN else (tries,))


def test_every_tile_beside_staying_faults_is_stored_byte_exact(staying: Ran) -> None:
    assert poisoned(staying.path, staying.service.site) == set()
    assert len(staying.first) == TILES - len(STAYING) - len(ABSENT)


def test_the_same_command_on_the_healed_service_fetches_the_failed_tiles_alone(staying: Ran) -> None:
    staying.service.script = script()
    staying.service.log.clear()
    again = command("run", staying.service.url, *SMALL, "-o", staying.path, *HASTY)
    assert (again.code, again.json["fetched"], again.json["absent"]) == (0, len(STAYING), len(ABSENT))
    assert set(staying.service.log.tiles()) == {staying.at[name] for name in STAYING}
    assert poisoned(staying.path, staying.service.site) == set()


def test_pictures_under_another_content_type_are_stored_and_told(serve, cli, tmp_path):
    """Row 15: bytes decide; that the server calls them something else is a notice, once."""
    service = serve(script=script(Rule(do="wrong_type", levels="3")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    told = [text for text in result.json["notices"] if "text/plain" in text]
    assert len(told) == 1 and "their bytes are pictures, so they are stored" in told[0]
    plain = cli("run", serve().url, *SMALL, "-o", "plain.mbtiles", *HASTY)
    assert not any("their bytes are pictures" in text for text in plain.json.get("notices", ()))


@pytest.mark.parametrize("do", ["close_after", "overlong"])
def test_a_connection_that_is_bad_after_a_good_answer_costs_another_tile_one_try_at_most(serve, cli, tmp_path, do):
    """The keep-alive race, and bytes beyond the stated length that the next answer would begin with (rows 7 and 10)."""
    service = serve(script=script(Rule(do=do, levels="3", cols="1,3,5", tries="1")))
    result = cli("run", service.url, *SMALL, "-o", "out.mbtiles", "--json", "-q")
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


@pytest.mark.parametrize("do", ["close_before", "reset_before"])
def test_a_kept_connection_that_was_closed_meanwhile_costs_no_tile_a_try(serve, cli, tmp_path, do):
    """Every request but the first of its connection meets a closed one: no tile fails, also without retries."""
    service = serve(script=script(Rule(do=do, levels="0-3", on_connection="2-")))
    result = cli("run", service.url, *SMALL, "-o", "out", "--json", "-q", "--concurrency", "4", "--retries", "0")
    assert (result.code, result.json["stored"], result.json["failed"]) == (0, TILES, 0)
    assert result.json["retries"] > 10
    assert result.json["tile_requests"] == service.log.count("tile") == TILES + result.json["retries"]
    assert max(service.log.tiles().values()) == 2, "once afresh, over a connection of its own"
    assert poisoned(tmp_path / "out", service.site) == set()


@pytest.mark.parametrize("name", OUTPUTS)
def test_another_raster_type_than_the_service_states_is_stored_where_the_format_can_say_so(serve, cli, tmp_path, name):
    """Row 28: JPEG from a PNG service, from the tenth tile on."""
    service = serve(script=script(Rule(do="wrong_format", requests="10-")))
    result = cli("run", service.url, *SMALL, "-o", name, "--json", "-q")
    assert (result.code, result.json["stored"]) == (0, TILES)
    bodies = held(tmp_path / name)
    for tile, body in bodies.items():
        picture = service.site.picture(tile, other_format=True)
        assert body in (service.site.body(tile), picture.body)
    assert sum(body[:2] == b"\xff\xd8" for body in bodies.values()) == TILES - 9
    if name.endswith(".mbtiles"):
        assert any("several types" in text for text in result.json["notices"])
    assert cli("verify", name, "--deep").code == 0
