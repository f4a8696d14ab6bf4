"""Whether a credential still opens the service once nothing else is left to ask: a tile that is known is asked again.

The refusal that would tell may never come: the plan runs out, a budget is used up or a person stops the run while an
ended token is still answered with stand-ins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from xxhash import xxh3_64_intdigest

from harvester.edges import Answer, Outcome, Request, Source, Wait
from harvester.engine.doubt import Question
from harvester.engine.sites import Site, Sites
from harvester.engine.stop import AGAIN, StopReason
from harvester.engine.tally import Tally

TRIES = 3
"""An answer that says nothing (a fault, a busy host) is asked for again so often."""

ASKED_AFTER = frozenset({"budget", "stopped"})
"""Stops after which one more request is nobody's harm; after the others the host is left alone."""

UNPROVEN = StopReason(
    code="unproven",
    message="the last tiles came all alike, and the source did not say whether the credentials still hold",
    hint=AGAIN,
    exit_code=1,
)

ENDED = StopReason(
    code="auth",
    message="the source answers with stand-ins for tiles: the credentials have ended",
    hint="Check the credentials (--token-env, --username with --password-env) and that they may read this service; "
    "then run the same command again.",
    exit_code=3,
)


class Proof:
    """One question in ``Transport.drain``'s terms: ``next_request`` and ``done``; ``holds`` is None while unknown."""

    def __init__(
        self, question: Question, source: Source, *, sites: Sites, tally: Tally, clock: Callable[[], float]
    ) -> None:
        self.holds: bool | None = None
        self._question = question
        self._source = source
        self._sites = sites
        sites.forget_in_flight()
        self._asked: list[Site] = []
        self._tally = tally
        self._clock = clock
        self._tries = 0
        self._asking = False

    def __repr__(self) -> str:
        return f"Proof({self._question.tile}, tries={self._tries}, holds={self.holds})"

    def next_request(self) -> Request | Wait | None:
        """The known tile until it says something."""
        if self._asking:
            return Wait(None)
        if self.holds is not None or self._tries == TRIES:
            return None
        request = self._source.request(self._question.tile, 0)._replace(fresh=self._tries > 0)
        started = self._sites.start(self._clock(), request, self._asked)
        if not isinstance(started, Request):
            return Wait(None if started == math.inf else started)
        self._asked.append(self._sites.of(started.host))
        self._tries += 1
        self._asking = True
        self._tally.requests += 1
        self._tally.tile_requests += 1
        self._tally.questions += 1
        return started

    def done(self, request: Request, answer: Answer) -> None:
        """Judge it: the stand-in itself, nothing, or a refusal means the end; any other picture is a tile."""
        self._asking = False
        self._tally.bytes += len(answer.body)
        site = self._sites.of(request.host)
        site.in_flight -= 1
        if answer.stale:
            site.pacer.unheard()
            return
        verdict = self._source.judge(request, answer)
        outcome = verdict.outcome
        self._sites.heard(self._clock(), request, outcome, answer.seconds, verdict.retry_after)
        if outcome is Outcome.WHOLE:
            self.holds = xxh3_64_intdigest(verdict.body) not in self._question.stand_ins
        elif outcome in (Outcome.ABSENT, Outcome.DENIED, Outcome.FAILED):
            self.holds = False
