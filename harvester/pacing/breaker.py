"""When a host gives nothing but failures, or asks for a pause: stop asking it for a while."""

from __future__ import annotations

import math

STREAK = 20
"""First tries in a row that failed before the host is left alone."""

SHARE = 0.1
SPAN_SECONDS = 30.0
LEAST_RESULTS = 50
"""Or less than a tenth of first tries good over half a minute, of at least 50."""

FIRST_PROBE_SECONDS = 1.0
LAST_PROBE_SECONDS = 30.0
"""The first probe comes after a second, each further one after twice the time."""

SLOTS = 15
"""Parts of the half minute that are forgotten one by one."""

SUSPECT = 3
"""First tries in a row that failed from which retries wait: whether the host lives, other tiles tell as well."""

LONGEST_PAUSE_SECONDS = 600.0
"""A host that asks for more than ten minutes is not waited for: the run stops and says when to come back."""


class Breaker:
    """Closed: all may go. Open: one probe at a time, after 1, 2, 4 ... 30 seconds; one good answer closes it.

    Only first tries are counted, so one bad tile's own retries can't open it. Throttled answers say that the host is
    alive: they don't count as a streak, only in the share of the last half minute.

    After ``vouch`` (a tile that is known to be good was answered well while all others failed) it opens again only
    after twice as many failures as the last time, retries among them, until a first try is good.
    """

    __slots__ = (
        "_bad",
        "_delay",
        "_good",
        "_patience",
        "_probe_at",
        "_probing",
        "_slots",
        "_start",
        "_streak",
        "asking",
        "open_since",
        "probes",
        "slot_until",
    )

    def __init__(self, now: float) -> None:
        self.open_since: float | None = None
        """When it opened; None while closed."""
        self.slot_until = 0.0
        """While closed: results up to this moment may be told together."""
        self.probes = 0
        """Probes that went since it opened."""
        self.asking = False
        """True while the probe is a tile that is known to be good: nothing else counts until its answer."""
        self._patience = STREAK
        self._delay = FIRST_PROBE_SECONDS
        self._probe_at = 0.0
        self._probing = False
        self._reset(now)

    def _reset(self, now: float) -> None:
        self._streak = 0
        self._start = now
        self._good = self._bad = 0
        self._slots: list[tuple[int, int]] = []
        self.slot_until = now + SPAN_SECONDS / SLOTS

    def allow(self, now: float) -> bool:
        """True when a request may start; while open, that request is the probe."""
        if self.open_since is None:
            return True
        if self._probing or now < self._probe_at:
            return False
        self._probing = True
        self.probes += 1
        return True

    def probe_now(self, now: float) -> None:
        """While open: the next probe need not wait."""
        self._probe_at = min(self._probe_at, now)

    def vouch(self) -> None:
        """A tile that is known to be good was answered well: the host is well, and what failed were bad tiles."""
        self._patience *= 2

    @property
    def is_vouched(self) -> bool:
        """True from ``vouch`` until another first try is good, or until it opens."""
        return self._patience > STREAK and self.open_since is None

    def ready_in(self, now: float) -> float:
        """Seconds until ``allow`` can be true; infinite while a probe is under way."""
        if self.open_since is None:
            return 0.0
        if self._probing:
            return math.inf
        return max(0.0, self._probe_at - now)

    @property
    def suspects(self) -> bool:
        """True while open, and once a few first tries in a row have failed."""
        return self._streak >= SUSPECT or self.open_since is not None

    @property
    def calm(self) -> bool:
        """True while closed and the last first try was good."""
        return self._streak == 0 and self.open_since is None

    def on_good(self, number: int) -> None:
        """So many good first tries, while ``calm``, all before ``slot_until``, unless ``forget`` follows."""
        self._good += number

    def forget(self, now: float) -> None:
        """Results of half a minute ago count no more. Part of ``on_result``; after ``on_good`` it is the caller's."""
        if now >= self.slot_until:
            self._forget(now)

    def on_result(self, now: float, *, ok: bool, first_try: bool, throttled: bool = False) -> None:
        """An answer came. While open any good one closes, whoever asked, but while ``asking`` nothing counts."""
        if self.asking:
            return
        if ok:
            if self.open_since is not None:
                self.open_since = None
                self._probing = False
                if first_try:
                    self._patience = STREAK
                self._delay = FIRST_PROBE_SECONDS
                self._reset(now)
            elif first_try:
                self._streak = 0
                self._patience = STREAK
                self._good += 1
                if now >= self.slot_until:
                    self._forget(now)
            return
        if self.open_since is not None:
            if self._probing:
                self._probing = False
                if now >= self.open_since + self._delay:
                    self._delay = min(self._delay * 2, LAST_PROBE_SECONDS)
                self._probe_at = now + self._delay
            return
        if not first_try and self._patience == STREAK:
            return
        self._bad += 1
        if not throttled:
            self._streak += 1
        if now >= self.slot_until:
            self._forget(now)
        if self._streak >= self._patience or (self._bad >= self._patience and self._nearly_all_bad(now)):
            self.open(now)

    def open(self, now: float) -> None:
        """Nothing goes but probes."""
        self.open_since = now
        self.probes = 0
        self._probe_at = now + self._delay

    def cancel_probe(self) -> None:
        """The probe ended without an answer about the host (it was cancelled): the next one may go."""
        self._probing = False

    def _nearly_all_bad(self, now: float) -> bool:
        if now - self._start < SPAN_SECONDS:
            return False
        first_good, first_bad = self._slots[0] if len(self._slots) >= SLOTS else (0, 0)
        good, bad = self._good - first_good, self._bad - first_bad
        return good + bad >= LEAST_RESULTS and good < SHARE * (good + bad)

    def _forget(self, now: float) -> None:
        """Close a slot: remember the counts at its end, and drop those of half a minute ago."""
        width = SPAN_SECONDS / SLOTS
        for _ in range(min(SLOTS, 1 + int((now - self.slot_until) / width))):
            self._slots.append((self._good, self._bad))
        del self._slots[:-SLOTS]
        self.slot_until = now + width

    def __repr__(self) -> str:
        if self.open_since is None:
            return f"Breaker(closed, {self._streak} failed in a row)"
        return "Breaker(open, probe under way)" if self._probing else f"Breaker(open, probe each {self._delay:g} s)"


class HostPause:
    """Nothing is asked before ``until``: the latest end of the pauses that the host asked for (Retry-After)."""

    __slots__ = ("_seconds", "too_long", "until")

    def __init__(self) -> None:
        self.until = -math.inf
        self._seconds = 0.0  # of all pauses
        self.too_long: float | None = None
        """Seconds of a pause that was too long to wait for; the run stops and says when to come back."""

    def pause(self, now: float, seconds: float) -> None:
        """The host asked for ``seconds`` of rest. An earlier, longer request isn't shortened."""
        if seconds > LONGEST_PAUSE_SECONDS:
            self.too_long = max(seconds, self.too_long or 0.0)
            seconds = LONGEST_PAUSE_SECONDS
        until = now + seconds
        if until > self.until:
            self._seconds += until - max(now, self.until)
            self.until = until

    def ready_in(self, now: float) -> float:
        """Seconds of the pause that are left."""
        return max(0.0, self.until - now)

    def rested(self, now: float) -> float:
        """Seconds of all pauses until now."""
        return self._seconds - self.ready_in(now)

    def __repr__(self) -> str:
        return f"HostPause(until {self.until:.3f}{', too long' if self.too_long else ''})"
