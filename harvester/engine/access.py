"""Credentials: whether a refusal (401, 498, 499) speaks of them or of its tile, one renewal for all who wait, and what
came for an ended one taken back.

One refused tile proves nothing. Others are asked, after it and one by one: refused too, the credential has ended. As a
service may answer an ended one with stand-in pictures, only more different pictures than there can be stand-ins prove
that it holds; and even then nothing that is in doubt is settled by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from harvester.edges import Host, Outcome, Request, State, Verdict
from harvester.engine.doubt import STAND_INS, Question
from harvester.engine.parts import Parts
from harvester.engine.stop import StopReason
from harvester.engine.witness import AGAIN
from harvester.redact import PLAIN_HEADERS
from harvester.tiling.tile import Tile

MOST_ASKED = 8
"""Tiles that are asked about one refusal: what does not show by then that the credential holds is taken for its end."""

MOST_REFUSED = 3
"""Tiles that were never served, here and there in the plan: refused, too, they are no region."""

MOST_OVERTAKEN = 2
"""Times that a refused tile is asked anew because a new credential came while others were asked about it: where that is
so again and again, questions take longer than credentials last."""

MOST_IN_VAIN = 50
"""New credentials, each refused before anything that came for it could be believed: so would all others be."""

NEVER_LONG_ENOUGH = StopReason(
    code="auth",
    message=f"{MOST_IN_VAIN} tokens in a row ended before anything that came for them could be believed",
    hint="Ask for tokens that last longer; where most of the area has no tiles, plan a part that has some (--bbox).",
    exit_code=3,
)


class Denied(NamedTuple):
    """What was refused, and how."""

    request: Request
    verdict: Verdict


class Access:
    """What is known of the credential in use. While ``is_open`` a question about it is asked and nothing else; while
    ``renewing`` nothing is. ``again`` takes what is to be asked at once, ``fail`` what is refused for its own sake;
    ``uncount`` is told how many whole tiles were taken back."""

    def __init__(
        self,
        parts: Parts,
        *,
        again: Callable[[Request], None],
        fail: Callable[[Denied], None],
        uncount: Callable[[int], None],
        opened: Callable[[], None],
    ) -> None:
        source = parts.source
        shown = (name.lower() for host in source.hosts for name, _ in host.headers)
        self.guarded = source.can_renew or source.credential > 0 or any(name not in PLAIN_HEADERS for name in shown)
        """Whether anything is shown to the service that can end; what is open to all can't be in doubt."""
        self.refused = -1
        """Credentials up to this generation are refused: whatever else comes for them is asked again."""
        self.renewing = False
        self.is_open = False
        self._source = source
        self._doubt = parts.doubt
        self._witness = parts.witness
        self._again = again
        self._fail = fail
        self._uncount = uncount
        self._stop = parts.stop
        self._renew = parts.renew
        self._opened = opened
        self._stored_body = parts.stored_body
        self._bad: dict[Tile, Denied] = {}
        """Tiles that were refused again though others were served: the run goes on, and ends with exit 3."""
        self._denials: Counter[tuple[Tile, int]] = Counter()
        self._denied_first: dict[tuple[Tile, int], int] = {}
        """The credential with which they were refused first."""
        self._own: dict[tuple[Tile, int], int] = {}
        """Refused tiles that are asked once more, and the credential that held after their refusal."""
        self._overtaken: Counter[tuple[Tile, int]] = Counter()
        self._aside: list[Denied] = []
        self._candidates: Iterator[Tile] = iter(())
        self._once_served: set[Tile | None] = set()
        self._refused_elsewhere = 0
        self._asked: Tile | None = None
        self._pictures: set[int] = set()

    def __repr__(self) -> str:
        return f"Access(refused={self.refused}, renewing={self.renewing}, aside={len(self._aside)})"

    # ------------------------------------------------------------------------------------------ a refusal

    def denied(self, request: Request, verdict: Verdict) -> None:
        """A tile or a window is refused."""
        if request.credential != self._source.credential:
            self.take_back(request.credential)
            self._again(request)
            return
        what = request.tile, request.window
        self._denials[what] += 1
        self._denied_first.setdefault(what, request.credential)
        denied = Denied(request, verdict)
        if self._own.pop(what, None) == request.credential:
            self._give_up(denied)
            return
        self._aside.append(denied)
        if not self.is_open:
            self._candidates = islice(self._choose(), MOST_ASKED)
            self._pictures = set()
            self.is_open = True
            self._opened()
            self._go_on()

    def _choose(self) -> Iterator[Tile]:
        """Tiles to ask, none twice and none that is refused: those that were served with different pictures, one that
        an earlier run stored, some that are spread over the plan."""
        served = self._doubt.different(STAND_INS + 1) if self.guarded else [self._witness.served]
        self._once_served = {*served, self._witness.kept}
        self._refused_elsewhere = 0
        seen: set[Tile | None] = {None}
        for tile in chain(served, [self._witness.kept], self._witness.all_elsewhere()):
            if tile not in seen and all(tile != denied.request.tile for denied in self._aside):
                seen.add(tile)
                assert tile is not None
                yield tile

    def _go_on(self) -> None:
        self._asked = next(self._candidates, None)
        if self._asked is None:
            self._settle(holds=False)

    @property
    def host(self) -> Host:
        """Whom to ask: the host that refused last, if it is not out."""
        return self._aside[-1].request.host

    def ready_in(self, now: float) -> float:
        """Seconds until the next step of the question."""
        return 0.0

    def step(self) -> Request:
        """What to ask; call while ``is_open``, with nothing in flight."""
        assert self._asked is not None
        return self._source.request(self._asked, AGAIN)

    def answered(self, now: float, request: Request, verdict: Verdict) -> None:
        """One of those tiles was asked."""
        if not self.is_open or request.credential != self._source.credential:
            return  # a new one came meanwhile
        if verdict.outcome is Outcome.DENIED:
            # One that was never served may lie in a refused region, too.
            self._refused_elsewhere += 1
            if request.tile in self._once_served or self._refused_elsewhere >= MOST_REFUSED:
                self._settle(holds=False)
                return
        if verdict.outcome is Outcome.WHOLE:
            self._pictures.add(xxh3_64_intdigest(verdict.body))
            if not self.guarded or len(self._pictures) > STAND_INS:
                self._settle(holds=True)
                return
        self._go_on()

    def _settle(self, *, holds: bool) -> None:
        self.is_open = False
        aside, self._aside = self._aside, []
        credential = self._source.credential
        if holds:
            for denied in aside:
                what = denied.request.tile, denied.request.window
                if self._denials[what] > 1:
                    self._give_up(denied)
                else:
                    self._own[what] = credential
                    self._again(denied.request)
            return
        # These first: refused once more, they end the run, whatever else was taken back.
        for denied in aside:
            self._again(denied.request)
        again = next((one for one in aside if self._denials[one.request.tile, one.request.window] > 1), None)
        if again is not None:
            self.take_back(credential)
            self._stop(self._refused_again(again))
        elif self._source.can_renew:
            self.take_back(credential)
            self.renew()

    def _give_up(self, denied: Denied) -> None:
        if not denied.request.window:  # else its tiles are asked
            self._bad[denied.request.tile] = denied
        self._fail(denied)

    def reason(self) -> StopReason | None:
        """Why the run ends with exit 3 though all others were asked: a tile was refused again."""
        first = next(iter(self._bad.values()), None)
        return None if first is None else self._refused_again(first, f"; {len(self._bad)} in all, others not")

    def _refused_again(self, denied: Denied, others: str = "") -> StopReason:
        request = denied.request
        is_renewed = request.credential > self._denied_first[request.tile, request.window]
        return StopReason(
            code="auth",
            message=f"the source refused tile {request.tile} again ({denied.verdict.reason}) "
            + ("with a new token" if is_renewed and self._source.can_renew else "on a second try")
            + others,
            hint="Check the credentials (--token-env, --username with --password-env) and that they may "
            "read this service; then run the same command again.",
            exit_code=3,
        )

    # ------------------------------------------------------------------------------------------ renewal

    def renew(self) -> None:
        """Get a new credential, once for all who wait. Nothing is asked meanwhile: the old one may have ended."""
        if not self.renewing:
            self.renewing = True
            self._opened()
            self._renew()

    def renewed(self) -> None:
        """A new credential is there: go on. What a question was about was refused with the one before, of which nothing
        is to be learned any more: it is asked anew, and not held against its tile."""
        self.renewing = False
        aside, self._aside = self._aside, []
        for denied in aside:
            what = denied.request.tile, denied.request.window
            if self._overtaken[what] == MOST_OVERTAKEN:
                self._aside.append(denied)
                continue
            self._overtaken[what] += 1
            self._denials[what] -= 1
            self.take_back(denied.request.credential)
            self._again(denied.request)
        self.is_open = bool(self._aside)

    def take_back(self, credential: int) -> None:
        """A credential was refused: what may have been answered to it after its end is pending again, and asked."""
        self.refused = max(self.refused, credential)
        doubtful = self._doubt.take_back(credential)
        self._uncount(sum(ended.state is State.STORED for ended in doubtful))
        for ended in doubtful:
            for tile in ended.tiles():
                self._bad.pop(tile, None)
                self._again(self._source.request(tile, 0))
        if self._doubt.in_vain >= MOST_IN_VAIN:
            self._stop(NEVER_LONG_ENOUGH)

    # ------------------------------------------------------------------------------------------ the end of a run

    def question(self) -> Question | None:
        """What would tell whether the credential still holds, where answers are in doubt."""
        return self._doubt.question(self._source.credential, self._kept) if self.guarded else None

    def _kept(self) -> tuple[Tile, int] | None:
        """A tile that an earlier run stored, with its digest."""
        tile = self._witness.kept
        body = None if tile is None else self._stored_body(tile)
        return None if tile is None or body is None else (tile, xxh3_64_intdigest(body))

    def holds(self) -> None:
        """The credential holds: nothing is in doubt."""
        self._doubt.settle()

    def ended(self) -> None:
        """The credential had ended: what is in doubt is pending again."""
        self.take_back(self._source.credential)
