"""Answers held in memory."""

from __future__ import annotations

from harvester.serve.held import ENTRY_OVERHEAD_BYTES, Held, HeldAnswers


def answer(size: int) -> Held:
    return Held(bytes(size), '"x"', "image/png")


def test_the_bytes_held_never_exceed_the_limit() -> None:
    held = HeldAnswers(10 * ENTRY_OVERHEAD_BYTES)
    for i in range(100):
        held.put(i, answer(i * 7))
        assert held.bytes <= 10 * ENTRY_OVERHEAD_BYTES


def test_the_least_recently_asked_is_dropped_first() -> None:
    held = HeldAnswers(3 * ENTRY_OVERHEAD_BYTES)
    for key in "abc":
        held.put(key, None)
    held.get("a")
    held.put("d", None)
    assert [key in held for key in "abcd"] == [True, False, True, True]


def test_putting_an_answer_again_counts_it_once() -> None:
    held = HeldAnswers(10_000)
    held.put("a", answer(100))
    held.put("a", answer(50))
    assert held.bytes == ENTRY_OVERHEAD_BYTES + 50
    assert held.get("a") == answer(50)


def test_an_answer_larger_than_the_limit_is_not_held_and_drops_nothing() -> None:
    held = HeldAnswers(ENTRY_OVERHEAD_BYTES)
    held.put("a", None)
    held.put("b", answer(1))
    assert "a" in held
    assert "b" not in held
