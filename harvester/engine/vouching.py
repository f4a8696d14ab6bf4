"""Whether the host is down or only its tiles are bad: while the breaker is open, or all answers speak of the whole
service, a witness is asked."""

from __future__ import annotations

from collections.abc import Callable

from harvester.edges import Answer, Outcome, Request, Verdict
from harvester.engine.stop import StopReason
from harvester.engine.suspicion import Suspicion
from harvester.engine.witness import Witness
from harvester.pacing import Pacer

CROWD = 256
"""Failed tiles that wait for another try, from which they take turns with untried ones while the host is known to be
well: else a region of a million bad tiles would be kept waiting in memory, and none would come to its end."""

IN_VAIN = 3
"""Tiles spread over the plan that are asked at once, as long as none was ever served, before the host itself is held to
be down, or a page in the place of tiles to be a portal's: one is outside any region of three quarters of the plan."""

RETRIED = 12
FOLLOWED = 4
"""While none was ever served one probe in so many, the first after these, is a tile that failed, and so are the next
until it failed so often: it may be served the second time, or the fifth. Its last try is not among those, so that a
host that is down costs no tile all its tries."""


def is_followed(retry: Request) -> bool:
    """True for one that failed more than once, and goes on."""
    return 1 < retry.attempt <= FOLLOWED


class Vouching:
    """Of one host. Asks first as soon as the breaker opens, then at every second probe; at every one, and a few times
    at once, where no tile is known yet. While all answers speak of the whole service each question goes at once. A
    witness that is served vouches for the host."""

    def __init__(self, pacer: Pacer, witness: Witness, stop: Callable[[StopReason], None]) -> None:
        self._pacer = pacer
        self._witness = witness
        self._stop = stop
        self._suspicion = Suspicion()
        self.suspects = self._suspicion.reasons
        self._unusable: StopReason | None = None
        """Why to stop, if a tile that is known to be good is not served either."""
        self._in_vain = 0

    def __repr__(self) -> str:
        return f"Vouching({self._witness}, in_vain={self._in_vain}, unusable={self._unusable})"

    @property
    def is_vouched(self) -> bool:
        """True while the host is known to be well though nothing but bad tiles comes."""
        return self._pacer.breaker.is_vouched

    def is_next(self, now: float, retry: Request | None = None) -> bool:
        """True while the breaker is open and its next probe is the witness; the first one need not wait. ``retry``: a
        tile that failed and is due."""
        breaker, known = self._pacer.breaker, self._witness.is_known
        if breaker.open_since is None or not self._witness.can_ask:
            return False
        if self._unusable is not None or not breaker.probes or (not known and breaker.probes < IN_VAIN):
            breaker.probe_now(now)
            return True
        if known:
            return breaker.probes % 2 == 0
        return retry is None or not (is_followed(retry) or breaker.probes % RETRIED == IN_VAIN)

    def ask(self) -> Request | None:
        """The question; call when ``is_next``, and the pacer let it go."""
        request = self._witness.next()
        self._pacer.breaker.asking = request is not None
        return request

    def suspect(self, now: float, verdict: Verdict, answer: Answer) -> None:
        """An answer that speaks of the whole service: when all do, a witness may say otherwise."""
        breaker = self._pacer.breaker
        open_for = None if breaker.open_since is None else now - breaker.open_since
        served = self._witness.served is not None
        reason = self._suspicion.reason_to_stop(verdict.reason, answer, served, open_for)
        if reason is None:
            return
        if not self._may_ask:
            self._stop(reason)
            return
        self._unusable = reason
        if breaker.open_since is None:
            breaker.open(now)

    @property
    def _may_ask(self) -> bool:
        """True while a witness can still say something that it has not said since the breaker opened."""
        breaker = self._pacer.breaker
        if self._witness.served is not None:
            return breaker.open_since is None or not breaker.probes or breaker.asking
        return self._in_vain < IN_VAIN and self._witness.can_ask

    def answered(self, now: float, request: Request, verdict: Verdict, *, was_open: bool) -> None:
        """The witness was asked, and the pacer knows: served, the host is well, and the others are bad tiles."""
        breaker, outcome = self._pacer.breaker, verdict.outcome
        if outcome in (Outcome.WHOLE, Outcome.UNCHANGED, Outcome.ABSENT) and was_open:
            breaker.vouch()
        if outcome in (Outcome.WHOLE, Outcome.UNCHANGED):
            self._unusable = None
            self._in_vain = 0
            self._witness.was_served(request.tile)
            return
        # A busy host says nothing of its tile: another one is asked besides.
        self._in_vain += -1 if outcome is Outcome.THROTTLED else 1
        if self._unusable is None:
            return
        if self._witness.served is not None:
            self._unusable = None
        elif not self._may_ask:
            self._stop(self._unusable)
        elif breaker.open_since is None:
            breaker.open(now)
