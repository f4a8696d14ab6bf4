"""Numbers as a person writes them: counted things in the right number, coordinates with sensible decimals."""

from __future__ import annotations

from collections.abc import Sequence

DEGREE_DECIMALS = 7
"""A centimetre on the ground: finer than any tile's pixel."""

METRE_DECIMALS = 3
"""A millimetre."""

IRREGULAR = {"retry": "retries", "try": "tries"}


def counted(number: int, what: str) -> str:
    """``1 tile``, ``2 tiles``, ``1,000 failed tiles``: the last word gets its plural."""
    if number == 1:
        return f"1 {what}"
    before, _, word = what.rpartition(" ")
    many = IRREGULAR.get(word, f"{word}s")
    return f"{number:,} {before + ' ' if before else ''}{many}"


def a_format(name: str) -> str:
    """``an exploded``, ``an mbtiles``, ``a tpkx``: a format's name with its article, as it is spoken."""
    return f"{'an' if name[:1] in ('e', 'm', 'x') else 'a'} {name}"


def box_words(box: Sequence[float], *, degrees: bool) -> str:
    """The four numbers of a box, in degrees to a centimetre, in other units to a thousandth."""
    decimals = DEGREE_DECIMALS if degrees else METRE_DECIMALS
    return ", ".join(plain_number(value, decimals) for value in box)


def share_words(share: float) -> str:
    """A part of a whole, as ``12.5%``; never ``0.0%`` of what is some, nor ``100.0%`` of what is not all."""
    if 0.0 < share < 0.001:
        return "less than 0.1%"
    if 0.999 < share < 1.0:
        return "more than 99.9%"
    return "all" if share >= 1.0 else f"{share:.1%}"


def pause_words(seconds: float) -> str:
    """``45 seconds``, ``12 minutes``."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else counted(round(seconds), "second")


def with_detail(reason: str, detail: str) -> str:
    """``tls (tiles.example.org:443: certificate has expired)``."""
    return f"{reason} ({detail})" if detail else reason


def plain_number(value: float, decimals: int = 6) -> str:
    """A number without exponent, trailing zeros or a minus before nothing."""
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
