"""The question that is under way: a tile asked only to see whether it is served, and who wants to know."""

from __future__ import annotations

import math
from collections.abc import Callable

from harvester.edges import Answer, Outcome, Request, Source, Verdict, Wait
from harvester.engine.access import Access
from harvester.engine.doubt import Doubt
from harvester.engine.ends import Ends
from harvester.engine.stop import StopReason
from harvester.engine.tally import Tally
from harvester.engine.throttling import Throttling
from harvester.engine.vouching import Vouching
from harvester.engine.witness import AGAIN, Elsewhere, Witness
from harvester.job import Limits
from harvester.pacing import Pacer, RetryHeap
from harvester.tiling.tile import Tile

HOLD = Wait(None)
"""Nothing to ask before an answer comes or something wakes the lanes."""


class Questions:
    """``access`` and ``throttling`` ask alone, with nothing else in flight; ``vouching`` asks in the breaker's probes.
    There is never more than one question under way.

    ``again`` takes what is to be asked at once, ``uncount`` how many whole tiles were taken back; ``opened`` is told
    when something is to be asked alone.
    """

    def __init__(
        self,
        *,
        source: Source,
        pacer: Pacer,
        tally: Tally,
        limits: Limits,
        doubt: Doubt,
        ends: Ends,
        waiting: RetryHeap[Request],
        clock: Callable[[], float],
        draw: Callable[[], float],
        stop: Callable[[StopReason], None],
        renew: Callable[[], None],
        again: Callable[[Request], None],
        uncount: Callable[[int], None],
        opened: Callable[[], None],
        stored_body: Callable[[Tile], bytes | None],
        elsewhere: Elsewhere,
    ) -> None:
        self.witness = witness = Witness(source, tally.one_kept, elsewhere)
        self.vouching = Vouching(pacer, witness, stop)
        self.throttling = Throttling(
            source=source, pacer=pacer, witness=witness, waiting=waiting, tally=tally, limits=limits, draw=draw,
            stop=stop, fail=ends.failed, opened=opened,
        )  # fmt: skip
        self.access = Access(
            source=source, doubt=doubt, witness=witness, again=again, uncount=uncount, stop=stop, renew=renew,
            fail=lambda denied: ends.denied(clock(), denied), opened=opened, stored_body=stored_body,
        )  # fmt: skip
        self._pacer = pacer
        self._tally = tally
        self._asker: Access | Throttling | None = None
        """Whose it is; None: Vouching's."""
        self._fresh = False

    def __repr__(self) -> str:
        return f"Questions({self.access}, {self.throttling}, {self.vouching})"

    @property
    def is_open(self) -> bool:
        """True while one is to be asked alone, or nothing may be asked."""
        return self.access.is_open or self.throttling.is_open or self.access.renewing

    def alone(self, now: float, in_flight: int) -> Request | Wait:
        """While ``is_open``: the next step. A Request whose ``attempt`` is not AGAIN is a tile to be tried again."""
        if in_flight or self.access.renewing:
            return HOLD
        asker = self.access if self.access.is_open else self.throttling
        seconds = asker.ready_in(now)
        if seconds <= 0.0:
            seconds = self._pacer.may_start(now, 0)
        if seconds > 0.0:
            return HOLD if seconds == math.inf else Wait(seconds)
        request = asker.step()
        self._asker = asker
        return self._counted(request) if request.attempt == AGAIN else request

    def is_probe(self, now: float) -> bool:
        """True when the breaker's next probe is a question."""
        return self.vouching.is_next(now)

    def probe(self) -> Request | None:
        """That question, once the pacer let it go; None: there is no tile left to ask."""
        request = self.vouching.ask()
        self._asker = None
        return None if request is None else self._counted(request)

    def _counted(self, request: Request) -> Request:
        self._tally.tile_requests += 1
        self._tally.questions += 1
        return request._replace(fresh=True) if self._fresh else request

    def stale(self) -> None:
        """An old connection was gone before the answer began: it is asked again over a new one."""
        self._pacer.breaker.asking = False
        self._fresh = True

    def answered(self, now: float, request: Request, answer: Answer, verdict: Verdict) -> None:
        """Told to the pacer first, then to who asked."""
        breaker, outcome = self._pacer.breaker, verdict.outcome
        breaker.asking = self._fresh = False
        was_open = breaker.open_since is not None
        if request.credential <= self.access.refused and outcome is not Outcome.DENIED:
            self._pacer.unheard()  # asked with a token that has ended: it is no answer
            return
        self._pacer.ended(now, outcome, answer.seconds, first_try=False, retry_after=verdict.retry_after)
        if self._asker is not None:
            self._asker.answered(now, request, verdict)
        else:
            self._tally.throttled += outcome is Outcome.THROTTLED
            self.vouching.answered(now, request, verdict, was_open=was_open)
