"""Bodies that came back for many tiles, in one line: what it takes to say that they mean "no data"."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.engine.repeats import Repeat
from harvester.wording import counted

SHOWN = 2
"""Bodies that the line names: where the sea is one of them, a "no data" picture is the other. The JSON has all."""


def repeated(repeats: Sequence[Repeat]) -> str:
    """What a person should know of them, the commonest first; empty where there is none."""
    if not repeats:
        return ""
    first, *others = (
        f"({_share(one.share)}, such as {one.sample}: --placeholder {one.hash})" for one in repeats[:SHOWN]
    )
    text = f"one body came for {counted(repeats[0].tiles, 'tile')} {first}"
    for one, other in zip(repeats[1:], others, strict=False):
        text += f", another for {one.tiles:,} {other}"
    if len(repeats) > SHOWN:
        text += f", {len(repeats) - SHOWN} more in the JSON"
    return f'{text}; if it means "no data", that option takes its tiles out'


def _share(share: float) -> str:
    """In whole percents, below ten with a digit more."""
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}"
