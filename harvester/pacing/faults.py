"""Faults that pass (500, 502, a reset, a page ...): is the host asked too much, or is that not what they are about?

A gateway says in this way that whoever is behind it is busy. Where too many answers are such, and tiles that failed are
served when they are asked again, an experiment tells: for a few answers less is asked, evenly, than was served before.
Where faults become fewer they are refusals from then on: the pace is lowered for them, and no tile pays for them. Where
they are as many as before they are no word of the pace.
"""

from __future__ import annotations

import math
from collections import deque

from harvester.pacing.odds import Odds

TOO_MANY = 0.1
"""Share of answers from which faults are looked into, where tiles that failed are served when they are asked again:
fewer cost no tile all its tries."""

FAR_TOO_MANY = 0.5
"""And where one was: most that is asked is in vain."""

MEMORY = 64
LEAST = 12
"""The share is that of so many answers at most, and at least."""

PASSED = 3
PASSED_SECONDS = 30.0
"""Where so many were served within this time, faults pass: what never passes is the tiles' own trouble."""

RECENT = 0.2
MOSTLY = 0.5
"""Weight of the last one among tiles that were asked again, and the share of them from which asking again helps."""

ROW = 60
"""Faults in a row after which the host is down rather than busy: until a good answer they are no refusals."""

GOODPUT_SECONDS = 3.0
"""What was served is counted over so long at least, and twice that at most."""

LESS = 0.7
"""Share of it that is asked in the experiment."""

LEAST_RATE = 1.0
"""Starts a second that it has at least: who serves less can wait."""

FALLS = 4.0
SURE = 4.0
"""It holds the share of before against one so many times smaller; logarithm of the odds that end it."""

SURELY = 0.9
"""A larger share counts as this: there must be something that may change."""

MOST = 200
"""Answers after which it is over, whatever they say."""

WINDOW_SECONDS = 3.0
WINDOW_ANSWERS = 16
FELL = 0.5
UNMOVED = 2
"""Later they are no refusals after all when their share is still half of what it was, in two such windows."""

FIRST_AGAIN_SECONDS = 4.0
LAST_AGAIN_SECONDS = 512.0
"""Until they are looked into again where they were no word of the pace: doubled each time."""


class Faults:
    """Told of good answers (``served``), of tiles that had failed and are served (``passed``), and of each fault
    (``failed``). While ``is_trying`` each start is asked for (``ready_in``, ``take``), and good answers are told one by
    one (``served_in_trial``). Times in monotonic seconds."""

    __slots__ = (
        "_again",
        "_again_every",
        "_answers",
        "_counted",
        "_failed",
        "_gap",
        "_goods",
        "_helps",
        "_latency",
        "_mark",
        "_next",
        "_odds",
        "_passed",
        "_row",
        "_share",
        "_since",
        "_taken",
        "_unmoved",
        "is_trying",
        "never_retried",
    )

    def __init__(self, now: float) -> None:
        self.is_trying = False
        """The experiment is under way."""
        self.never_retried = False
        """No tile that failed is asked again: the experiment alone tells."""
        self._taken = False  # for refusals
        self._answers = self._failed = 0  # of late; once they are taken for refusals: of this window
        self._goods = 0
        self._latency = 0.0  # of the last good answers
        self._mark = (now, 0, now, 0)  # two moments and the good answers there were then
        self._passed: deque[float] = deque(maxlen=PASSED)
        self._helps = 0.0  # share of these among those that were asked again of late
        self._row = 0
        self._share = 0.0  # before the experiment
        self._odds = Odds()
        self._gap = 0.0  # seconds between its starts
        self._next = now
        self._counted = now  # what was started from then on belongs to it
        self._since = now  # when the window began
        self._unmoved = 0
        self._again = -math.inf
        self._again_every = FIRST_AGAIN_SECONDS

    @property
    def are_refusals(self) -> bool:
        """True while they are taken for that."""
        return self._taken and self._row < ROW

    @property
    def retries_help(self) -> bool:
        """True while most tiles that failed are served when they are asked again."""
        return self._helps >= MOSTLY

    # ------------------------------------------------------------------------------------------ reports

    def served(self, seconds: float, number: int = 1) -> None:
        """A good answer came after ``seconds``; or so many of them, after these seconds in all."""
        self._row = 0
        self._latency = seconds / number
        self._goods += number
        self._answers += number
        if self._answers > MEMORY and not self._taken:
            self._failed = self._failed * MEMORY // self._answers
            self._answers = MEMORY

    def served_in_trial(self, now: float, started: float) -> bool:
        """A good answer to what was started then. True when that ends the experiment, and faults are refusals."""
        if started < self._counted:
            return False
        self._odds.good(1)
        return self._judge(now)

    def passed(self, now: float) -> None:
        """A tile that had failed is served."""
        self._passed.append(now)
        self._helps += RECENT * (1.0 - self._helps)

    def failed_again(self) -> None:
        """A tile that had failed fails again."""
        self._helps -= RECENT * self._helps

    def failed(self, now: float, started: float) -> bool:
        """A request of then failed. True when faults were taken for refusals and turn out to be none."""
        self._row += 1
        self._answers += 1
        self._failed += 1
        if self._taken:
            return self._look(now)
        if self.is_trying:
            if started >= self._counted:
                self._odds.refused(0)
                self._judge(now)
            return False
        if self._answers > MEMORY:
            self._answers, self._failed = self._answers // 2, self._failed // 2
        self._share = self._failed / self._answers
        rate = self._goodput(now)
        if self._are_doubtful(now):
            self._try(now, rate)
        return False

    def _are_doubtful(self, now: float) -> bool:
        if self._share < TOO_MANY or self._answers < LEAST or now < self._again:
            return False
        if self.never_retried:
            return True
        passed = sum(now - at <= PASSED_SECONDS for at in self._passed)
        return passed >= (1 if self._share >= FAR_TOO_MANY else PASSED)

    def _goodput(self, now: float) -> float:
        before, goods, mark, then = self._mark
        if now - mark >= GOODPUT_SECONDS:
            self._mark = (mark, then, now, self._goods)
        return (self._goods - goods) / max(now - before, LEAST / 100)

    # ------------------------------------------------------------------------------------------ the experiment

    def _try(self, now: float, rate: float) -> None:
        self.is_trying = True
        self._gap = 1.0 / max(LEAST_RATE, LESS * rate)
        self._next = now
        self._counted = now + self._latency  # what was asked before has been answered
        share = min(self._share, SURELY)
        self._odds.clear()
        self._odds.weigh(share / FALLS, share, -SURE)
        self._answers = self._failed = 0

    def ready_in(self, now: float) -> float:
        """Seconds until the next start of the experiment."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """It starts now."""
        self._next = max(self._next, now - self._gap) + self._gap

    def _judge(self, now: float) -> bool:
        odds = self._odds.after(0)
        if -SURE < odds < SURE and self._answers < MOST:
            return False
        self.is_trying = False
        self._taken = odds <= -SURE
        if self._taken:
            self._unmoved = 0
            self._begin(now)
        else:
            self._put_off(now)
        return self._taken

    # ------------------------------------------------------------------------------------------ afterwards

    def _look(self, now: float) -> bool:
        if now - self._since < WINDOW_SECONDS or self._answers < WINDOW_ANSWERS:
            return False
        if self._failed < max(TOO_MANY, FELL * self._share) * self._answers:
            self._unmoved = 0
            self._again_every = FIRST_AGAIN_SECONDS
        else:
            self._unmoved += 1
        self._begin(now)
        if self._unmoved < UNMOVED:
            return False
        self._taken = False
        self._put_off(now)
        return True

    def _put_off(self, now: float) -> None:
        self._again = now + self._again_every
        self._again_every = min(2 * self._again_every, LAST_AGAIN_SECONDS)
        self._mark = (now, self._goods, now, self._goods)

    def _begin(self, now: float) -> None:
        self._since = now
        self._answers = self._failed = 0

    def __repr__(self) -> str:
        state = ", looked into" if self.is_trying else ", taken for refusals" if self._taken else ""
        return f"Faults({self._failed} of {self._answers} answers{state})"
