"""How many are asked to learn of a tilemap, and for how long where a host only refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from harvester.assemble.hearing import BUSY_SECONDS, Heard, hear_enough
from harvester.engine import StopReason
from harvester.tiling.tile import Tile

TILES = [Tile(5, 0, col) for col in range(32)]
GOOD = Tile(5, 9, 9)
BUSY = StopReason.gave_up(BUSY_SECONDS, ever=True, breaker_open=False, last="busy")


def asked(answering: Sequence[Tile], *, enough: int, known: Sequence[Tile] = (GOOD,)) -> tuple[Heard, list[list[Tile]]]:
    """What was heard, and all questions, of a host that answers these alone and refuses others for half a minute."""
    questions: list[list[Tile]] = []

    async def ask(tiles: Sequence[Tile]) -> Heard:
        questions.append(list(tiles))
        well = [tile for tile in tiles if tile in answering]
        refused = [tile for tile in tiles if tile not in answering]
        heard = Heard(answered=well, said=dict.fromkeys(well, "http_404"))
        if refused:
            heard.failed, heard.unended = dict.fromkeys(refused, "busy"), refused
            heard.stop, heard.busy_seconds = BUSY, BUSY_SECONDS
        return heard

    return asyncio.run(hear_enough(ask, TILES[:8], TILES[8:], enough, known)), questions


def test_tiles_that_are_always_busy_are_asked_three_times_with_a_known_one_after_each():
    heard, questions = asked([TILES[0], GOOD], enough=8)
    witness = [TILES[0]]
    assert questions == [TILES[:8], witness, TILES[1:8], witness, TILES[8:15], witness]
    assert (heard.stop, heard.answered) == (None, witness)
    assert heard.failed == dict.fromkeys(TILES[1:15], "busy")


def test_where_none_of_them_answers_no_others_are_asked():
    heard, questions = asked([GOOD], enough=8)
    assert questions == [TILES[:8], [GOOD], TILES[:8], [GOOD]]
    assert (heard.stop, heard.answered, len(heard.failed)) == (None, [], 8)


def test_a_host_that_refuses_the_known_one_too_is_busy_for_all():
    heard, questions = asked([], enough=8)
    assert questions == [TILES[:8], [GOOD]]
    assert heard.stop is BUSY
