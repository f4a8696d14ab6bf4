"""Which tiles are in doubt once a credential is refused: what it was answered since it surely opened the service.

Some services do not refuse an ended token at once: for a while they answer 200 with a stand-in picture, or 404, and
only then 498. Such a stand-in is the same for every tile, so a few different pictures prove that the token was good.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harvester.edges import Answer, Request, State
from harvester.engine.tally import Tally
from harvester.engine.writer import Writer
from harvester.tiling.tile import BlockKey, Tile, block_of

if TYPE_CHECKING:
    from harvester.engine.words import Words

STAND_INS = 3
"""Different pictures that a service may put in the place of tiles (one a format, one a size). One more than these, and
at least one of them is a real tile."""

ALIKE = 2
"""Answers without a picture from which they are doubted though nothing was refused."""

REMEMBERED = 8192
"""Answers that can be doubted: beyond these, a token that opened nothing would have been refused long ago. 3 MB."""


NOT_FOUND = "http_404"
"""The reason of absences of which a service that gives nothing else is held to be gone; an ArcGIS error 404 in a 200 is
one."""


class Ended(NamedTuple):
    """One answer that gave its tile (or, with ``indexes``, tiles of the block that begins at ``tile``) an end."""

    credential: int
    tile: Tile
    state: State
    sent: float
    ended: float
    """Monotonic seconds."""
    digest: int | None = None
    """xxh3-64 of a picture; None for an answer that proves nothing (404, a tilemap window)."""
    reason: str = ""
    indexes: tuple[int, ...] = ()

    def tiles(self) -> Iterable[Tile]:
        """The tiles that it ended."""
        key = block_of(self.tile)
        return (key.tile(index) for index in self.indexes) if self.indexes else (self.tile,)


class Question(NamedTuple):
    """What would tell whether a credential still opens the service: a tile whose picture is none of the stand-ins."""

    tile: Tile
    stand_ins: frozenset[int]
    """Pictures (xxh3-64) that came more than once since the credential surely opened the service."""


class Refusals:
    """Answers that refuse (401, 498, 499) or say "too busy" (429, 503) since the last look back."""

    __slots__ = ("first", "last", "number")

    def __init__(self) -> None:
        self.number = 0
        self.first: tuple[float, int] = (0.0, 0)
        """When it was, and how many whole tiles had come by then."""
        self.last = self.first

    def add(self, now: float, came: int) -> None:
        """One more; ``came``: all whole tiles of the run by then."""
        self.last = now, came
        self.first = self.first if self.number else self.last
        self.number += 1

    def forget(self) -> None:
        """From now on anew."""
        self.number = 0


class Doubt:
    """Remembers the last answers, and takes those back that are in doubt."""

    def __init__(self, writer: Writer, tally: Tally) -> None:
        self.recent: deque[Ended] = deque(maxlen=REMEMBERED)
        """In the order in which they came; the hot path appends its pictures by itself."""
        self.refusals = Refusals()
        self.words: Words | None = None
        """Where there are several hosts: what ended on the word of one of them."""
        self._writer = writer
        self._tally = tally
        self._settled = -1
        self._unchanged = 0
        self.in_vain = 0
        """Credentials that were refused one after the other, and nothing that came for them was sound."""

    def remember(
        self, now: float, request: Request, answer: Answer, state: State, reason: str, indexes: tuple[int, ...] = ()
    ) -> None:
        """An answer that proves nothing of the credential."""
        sent = now - answer.seconds
        self.recent.append(Ended(request.credential, request.tile, state, sent, now, None, reason, indexes))

    def take_back(self, credential: int) -> list[Ended]:
        """What is in doubt now that a credential is refused, made pending; the second time that is nothing."""
        before, is_full = self._settled, len(self.recent) == REMEMBERED
        doubtful = self._refused(credential)
        if credential > before:
            came = sum(before < ended.credential <= credential for ended in self.recent)
            unchanged = self._tally.counts().unchanged
            is_any_sound = came > len(doubtful) or is_full or unchanged > self._unchanged
            self.in_vain, self._unchanged = 0 if is_any_sound else self.in_vain + 1, unchanged
        if doubtful:
            answers = set(map(id, doubtful))
            self._remember([ended for ended in self.recent if id(ended) not in answers])
        doubtful = [ended for ended in doubtful if ended.state is not State.PENDING]
        self._make_pending(doubtful)
        return doubtful

    def take_out(self, doubtful: Sequence[Ended]) -> None:
        """Make what these answers ended pending again. They stay remembered for what they showed, as PENDING, so that
        nothing is taken out twice."""
        if doubtful:
            tiles = {ended.tile for ended in doubtful}
            self._remember(
                [
                    ended if ended.indexes or ended.tile not in tiles else ended._replace(state=State.PENDING)
                    for ended in self.recent
                ]
            )
        self._make_pending(doubtful)

    def take_absences_out(self, absences: Sequence[tuple[BlockKey, str, Sequence[int]]]) -> None:
        """Make absent tiles pending again: positions by block and the way in which they were said not to be there."""
        taken: dict[tuple[BlockKey, State], list[int]] = {}
        for key, reason, positions in absences:
            taken.setdefault((key, State.ABSENT), []).extend(positions)
            self._tally.answered_404 -= len(positions) if reason == NOT_FOUND else 0
            self._tally.absences[key.level, reason] -= len(positions)
        if taken:
            within = {key: set(positions) for (key, _), positions in taken.items()}
            self._remember([_pending(ended, within) for ended in self.recent])
            self._writer.take_back(taken)

    def _remember(self, recent: list[Ended]) -> None:
        self.recent.clear()
        self.recent.extend(recent)

    def _make_pending(self, doubtful: Sequence[Ended]) -> None:
        taken: dict[tuple[BlockKey, State], list[int]] = {}
        for ended in doubtful:
            key = block_of(ended.tile)
            taken.setdefault((key, ended.state), []).extend(ended.indexes or (key.position(ended.tile),))
            if ended.state is State.ABSENT and ended.reason and not ended.indexes:
                self._tally.answered_404 -= ended.reason == NOT_FOUND
                self._tally.absences[ended.tile.level, ended.reason] -= 1
        if taken:
            if self.words is not None:
                for (key, state), positions in taken.items():
                    if state is State.ABSENT:
                        self.words.forget(key, positions)
            self._writer.take_back(taken)

    def _refused(self, credential: int) -> list[Ended]:
        """The answers in doubt, newest first.

        Of ``STAND_INS`` + 1 different pictures one was real, so the token was good when it was answered, which is not
        before the earliest of them was asked for: what had come by then is sound.
        """
        if credential <= self._settled:
            return []
        found = self._doubtful(credential)
        self._settled = credential
        return found

    def question(self, credential: int, kept: Callable[[], tuple[Tile, int] | None]) -> Question | None:
        """What to ask when nothing else is left to ask and nothing was refused. None where nothing is in doubt (no two
        answers were alike), or where no picture is known that differs: none that came, and not that of the tile
        that an earlier run stored (``kept``: the tile, and its digest)."""
        doubtful = self._doubtful(credential)
        times = Counter(ended.digest for ended in doubtful if ended.digest is not None)
        stand_ins = frozenset(digest for digest, number in times.items() if number > 1)
        absent = sum(ended.state is State.ABSENT and not ended.indexes for ended in doubtful)
        if not stand_ins and absent < ALIKE:
            return None
        surely = (one for one in self.recent if one.digest is not None and one.digest not in times)
        perhaps = (one for one in doubtful if one.digest is not None and one.digest not in stand_ins)
        known = next(surely, None) or next(perhaps, None)
        if known is not None:
            return Question(known.tile, stand_ins)
        earlier = kept()
        return None if earlier is None or earlier[1] in stand_ins else Question(earlier[0], stand_ins)

    def different(self, number: int) -> list[Tile]:
        """The tiles of so many of the last different pictures, as far as there are so many."""
        found: dict[int, Tile] = {}
        for ended in reversed(self.recent):
            if ended.digest is not None and ended.digest not in found:
                found[ended.digest] = ended.tile
                if len(found) == number:
                    break
        return list(found.values())

    def settle(self) -> None:
        """The credential held after all that came."""
        self.recent.clear()
        self.in_vain = 0

    def _doubtful(self, credential: int) -> list[Ended]:
        known = self._settled
        if credential <= known:
            return []
        found: list[Ended] = []
        pictures: set[int] = set()
        since: float | None = None
        for ended in reversed(self.recent):
            if not known < ended.credential <= credential:
                continue
            if since is not None and ended.ended <= since:
                break
            found.append(ended)
            if since is None and ended.digest is not None:
                pictures.add(ended.digest)
                if len(pictures) > STAND_INS:
                    since = min(one.sent for one in found)
        return found


def _pending(ended: Ended, taken: Mapping[BlockKey, Collection[int]]) -> Ended:
    """As PENDING, if it is one of these."""
    if ended.state is not State.ABSENT or ended.indexes:
        return ended
    key = block_of(ended.tile)
    return ended._replace(state=State.PENDING) if key.position(ended.tile) in taken.get(key, ()) else ended
