"""How long the embedded map takes to draw: sixteen tiles at a time, names and coasts included."""

from __future__ import annotations

from harvester.demo.world import WorldMap


def work(squares: int) -> int:
    """Draw this many squares of 4 x 4 tiles on the Norwegian coast; gives their bytes."""
    world = WorldMap.mercator()
    total = 0
    for n in range(squares):
        total += len(world.read(8, 72 + 4 * (n // 4), 132 + 4 * (n % 4)) or b"")
    return total


def test_squares_are_drawn() -> None:
    assert work(2) > 1000
