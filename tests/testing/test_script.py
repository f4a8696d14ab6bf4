"""Scripts: the same in Python and TOML, the same faults for the same seed, errors by key."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import UsageError
from harvester.testing import Capacity, FaultyService, RequestLog, Rule, Script
from harvester.testing.acts import ACTS
from harvester.testing.log import Asked, Place
from harvester.tiling.tile import Tile
from tests.testing.raw import TILE, Client


def asked(tile: Tile | None = TILE, *, kind: str = "tile", tries: int = 1, nth: int = 1, at: float = 0.0) -> Asked:
    """A request as the server would have read it."""
    log, target, place = RequestLog(), f"/x/{kind}/{tile}", Place(kind, tile)
    for _ in range(tries):
        last = log.add(at=at, connection=1, nth=nth, method="GET", target=target, raw=b"", body=b"", place=place)
    return last


TEXT = """
seed = 7
latency = 0.5

[service]
grid = "rio"

[capacity]
concurrent = 16
beyond = "503"
retry_after = "date+3"

[[rule]]
tiles = ["3/2/*"]
tries = "1-2"
do = "status"
status = 503
retry_after = 2

[[rule]]
share = 0.02
do = "answer"
headers = { "X-One" = "1", "X-Two" = "a \\"b\\"" }
"""


def test_toml_and_python_say_the_same() -> None:
    script = Script(
        seed=7,
        latency=0.5,
        capacity=Capacity(concurrent=16, beyond="503", retry_after="date+3"),
        rules=(
            Rule(tiles=("3/2/*",), tries="1-2", do="status", status=503, retry_after=2),
            Rule(share=0.02, do="answer", headers={"X-One": "1", "X-Two": 'a "b"'}),
        ),
    )
    assert Script.from_toml(TEXT) == script
    assert Script.from_toml(script.to_toml()) == script


numbers = st.integers(0, 10**6)
ranges = st.sampled_from(["", "3", "0-5", "1,4-", "7-9,12"])
rules = st.builds(
    Rule,
    do=st.sampled_from(sorted(ACTS)),
    kind=st.sampled_from(["tile", "tilemap", "any"]),
    tiles=st.lists(st.sampled_from(["1/2/3", "*/2/*"]), max_size=2).map(tuple),
    levels=ranges,
    rows=ranges,
    tries=ranges,
    on_connection=ranges,
    since=st.none() | st.floats(0, 100),
    share=st.floats(0, 1),
    times=st.none() | numbers,
    status=st.just(0) | st.integers(100, 599),
    retry_after=st.none() | numbers | st.text(st.characters(codec="ascii")),
    at=st.floats(0, 1e6),
    bytes=numbers,
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    headers=st.dictionaries(st.sampled_from(["A", "B-C"]), st.text("xyz \"'\\é"), max_size=2),
)
scripts = st.builds(
    Script,
    rules=st.lists(rules, max_size=3).map(tuple),
    seed=numbers,
    latency=st.floats(0, 10),
    capacity=st.none()
    | st.builds(Capacity, concurrent=st.none() | numbers, beyond=st.sampled_from(["429", "latency"])),
)


@given(scripts)
@settings(max_examples=60, deadline=None)
def test_any_script_comes_back_from_its_toml(script: Script) -> None:
    assert Script.from_toml(script.to_toml()) == script


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("sead = 7", "script: unknown key 'sead'", "'seed'"),
        ('[[rule]]\ndo = "empty"\nlevel = 3', "rule 0: unknown key 'level'", "'levels'"),
        ('[[rule]]\ndo = "trunkate"', "do = 'trunkate' is not known", "'truncate'"),
        ('[[rule]]\ndo = "empty"\nkind = "tiles"', "kind = 'tiles'", "'tile'"),
        ("[[rule]]\nlevels = 3", "rule 0: ", "Keys: do"),
        ('[[rule]]\ndo = "empty"\ntries = "first"', "tries = 'first' is not a list of ranges", '"0-5,7"'),
        ('[[rule]]\ndo = "status"\nstatus = 99999', "rule 0: status = 99999", "100 to 599"),
        ('[[rule]]\ndo = "redirect"\nstatus = 30', "rule 0: status = 30", "100 to 599"),
        (
            '[[rule]]\ndo = "empty"\n[[rule]]\ndo = "empty"\ntiles = ["3/2/1", "a/b"]',
            "rule 1: tiles = 'a/b'",
            '"3/2/*"',
        ),
        ('[[rule]]\ndo = "empty"\ntiles = ["3/2"]', "rule 0: tiles = '3/2'", "level/row/col"),
        ('[capacity]\nbeyond = "slow"', "beyond = 'slow'", '"latency"'),
        ("seed = ", "not TOML", "toml.io"),
    ],
)
def test_what_is_wrong_is_named_with_the_nearest_known_word(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Script.from_toml(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("rule", "request_", "fits"),
    [
        (Rule(do="empty"), asked(), True),
        (Rule(do="empty"), asked(kind="tilemap"), False),
        (Rule(do="empty", kind="any"), asked(None, kind="document"), True),
        (Rule(do="empty", kind="any", levels="5"), asked(None, kind="document"), False),
        (Rule(do="empty", levels="3-5", rows="3", cols="0-9"), asked(), True),
        (Rule(do="empty", levels="6-"), asked(), False),
        (Rule(do="empty", tiles=("5/3/*", "1/1/1")), asked(), True),
        (Rule(do="empty", tiles=("5/4/*",)), asked(), False),
        (Rule(do="empty", tries="2-"), asked(), False),
        (Rule(do="empty", tries="2-"), asked(tries=2), True),
        (Rule(do="empty", requests="3"), asked(tries=3), True),
        (Rule(do="empty", on_connection="2-"), asked(), False),
        (Rule(do="empty", on_connection="2-"), asked(nth=2), True),
        (Rule(do="empty", path="*/tile/5/*"), asked(), True),
        (Rule(do="empty", path="*/tile/6/*"), asked(), False),
        (Rule(do="empty", since=2.0), asked(at=1.9), False),
        (Rule(do="empty", since=2.0, until=3.0), asked(at=2.0), True),
        (Rule(do="empty", until=3.0), asked(at=3.0), False),
        (Rule(do="empty", share=0.5), asked(), False),
        (Rule(do="empty", share=0.51), asked(), True),
    ],
)
def test_a_rule_fits_when_all_that_it_names_fits(rule: Rule, request_: Asked, fits: bool) -> None:
    assert rule.fits(request_, started=0.0, draw=0.5) is fits


def drawn(seed: int, tiles: list[Tile], tries: int = 1) -> set[Tile]:
    script = Script(seed=seed, rules=(Rule(do="empty", share=0.3),))
    return {tile for tile in tiles if script.draw(0, asked(tile, tries=tries)) < 0.3}


def test_a_share_depends_on_seed_tile_and_try_alone() -> None:
    tiles = [Tile(9, row, col) for row in range(30) for col in range(30)]
    first = drawn(1, tiles)
    assert drawn(1, tiles[::-1]) == first
    assert 200 < len(first) < 340
    assert drawn(2, tiles) != first
    assert drawn(1, tiles, tries=2) != first
    script = Script(seed=1)
    assert script.draw(0, asked()) != script.draw(1, asked())


def test_two_runs_with_one_seed_see_the_same_faults_in_any_order() -> None:
    tiles = [Tile(6, row, col) for row in range(8) for col in range(8)]

    def answers(order: list[Tile]) -> dict[Tile, str]:
        with FaultyService(None, Script(seed=3, rules=(Rule(do="no_content", share=0.4),))) as service:
            client = Client(service)
            for tile in order:
                client.ask(tile)
                client.answer()
            client.socket.close()
        # Read when the server has ended: the last answer's line is finished a moment after the answer.
        return {entry.tile: entry.answer for entry in service.log if entry.tile is not None}

    assert answers(tiles) == answers(tiles[::-1])
    assert 10 < sum(answer == "no_content 204" for answer in answers(tiles).values()) < 45


def test_the_first_rule_that_fits_answers_and_each_only_so_often() -> None:
    rules = (Rule(do="status", status=503, times=2), Rule(do="status", status=500, times=1))
    with FaultyService(None, Script(rules=rules)) as service:
        client = Client(service)
        statuses = []
        for _ in range(4):
            client.ask()
            statuses.append(client.answer()[0])
        client.socket.close()
        assert statuses == [503, 503, 500, 200]
        assert [entry.rule for entry in service.log] == [0, 0, 1, None]
