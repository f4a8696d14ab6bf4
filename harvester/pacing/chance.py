"""Refusals by chance: of a host that refuses a share of its requests whatever the pace, told by experiment from those
of one that is asked too much.

A limit refuses above it and not below; chance refuses as often below as above. Where a host goes on refusing below what
it bore, what it bore is asked once more, and refusals are let pass while they are no larger a share than below. If they
become one, there is a limit, and the pace goes back. If not, they say nothing of the pace from then on, until their
share rises with the rate: that is a limit again, and it is obeyed.
"""

from __future__ import annotations

from harvester.pacing.doubts import BEARABLE, LEAST_SHARE, Doubts
from harvester.pacing.gaps import Gaps
from harvester.pacing.odds import Odds

SURE = 14.0
"""Logarithm of the odds from which a higher share is believed at a rate that was borne: by chance once in more than a
million answers, so at a thousand a second hardly in an hour."""

REFUTED = 8.0
"""The same at a rate that was not borne yet: to be wrong costs no more than a slower rise."""

DOUBTFUL = 2.0
"""From these odds on a rate that was borne is not taken to be borne again."""

BORNE = 2.5
"""Odds against a limit from which a new rate is borne."""

PROVEN = 4.0
"""The same in the experiment."""

LEAST_STEP = 1.06
MOST_STEP = 1.25
"""The higher share is what a limit would bring that lies below the rate by the step from the rate before, within these
bounds: less takes too many answers to tell, and more would let a limit pass that lies in between."""

TRIED = 1.2
"""That step in the experiment, and where no rate was borne before."""

FAR_BEYOND = 0.6
"""Share of refusals of a host that is asked far too much: a few in a row tell it."""

PROVEN_ANSWERS = 30
PROVEN_SECONDS = 2.0
"""Fewest good answers and shortest time of an experiment: hosts that count seconds object within it."""

BELIEVED = 0.96
"""Share of a rate that was refused which may still be borne."""

MEMORY = 2000
"""Answers from which the usual share is known; what came before counts half by then."""

OVER_ANSWERS = 1000
OVER_SHARE = 0.5 * LEAST_SHARE
"""A smaller share over so many answers is none: each refusal is obeyed again."""


class Chance:
    """Says of every refusal whether it is to be obeyed (``on_refused``).

    The caller starts the experiment (``begin``) at ``pace`` when it ``is_due``, asks then whether it is over
    (``is_proven``), and while ``is_on`` raises a rate only when ``is_borne``. ``is_on`` and not ``is_known``: the
    experiment is under way; when it ends with ``is_on`` false, it was a limit.

    ``goods`` is always the number of good answers so far; ``rate`` the starts a second that are allowed, ``borne`` the
    highest that were used without too many refusals (0.0: none is known).
    """

    __slots__ = (
        "_alarmed",
        "_answers",
        "_began",
        "_began_goods",
        "_believed",
        "_doubts",
        "_far",
        "_gaps",
        "_heard",
        "_last",
        "_odds",
        "_rate",
        "_refusals",
        "_step_goods",
        "_step_refusals",
        "is_due",
        "is_known",
        "is_on",
        "pace",
        "share",
    )

    def __init__(self, now: float) -> None:
        self.is_due = False
        self.is_on = False
        self.is_known = False
        self.pace = 0.0
        """Starts a second of the experiment."""
        self.share = 0.0
        """Usual share of refusals, while ``is_on``."""
        self._doubts = Doubts(now)
        self._odds, self._far = Odds(), Odds()
        self._gaps = Gaps()
        self._last = 0  # good answers there were when the odds were told last
        self._heard = 0  # and by the last refusal
        self._alarmed = False  # a refusal was obeyed, and none was answered well since
        self._answers = self._refusals = 0.0  # at rates that are believed to be borne
        self._rate = 0.0  # the rate of now
        self._believed = 0.0  # up to here rates are believed to be borne
        self._step_goods = self._step_refusals = 0  # good answers there were when this rate began, refusals since then
        self._began = now
        self._began_goods = 0

    # ------------------------------------------------------------------------------------------ reports

    def on_refused(
        self,
        now: float,
        goods: int,
        rate: float,
        borne: float,
        *,
        is_fresh: bool,
        rested: float = 0.0,
        after: float = 0.0,
    ) -> bool:
        """A request was refused; true when that is to be obeyed. ``is_fresh``: it was started at the pace of now;
        ``rested``: seconds of all pauses so far; ``after``: requests started between the last pause and this one."""
        if not self.is_on:
            self._doubts.on_refused(now, goods, rate, borne, is_fresh=is_fresh, rested=rested)
            self.is_due = self._doubts.is_due
            return True
        self._look(goods, rate, borne)
        row = goods == self._heard
        self._heard = goods
        if self._alarmed and row:
            return True
        self._alarmed = False
        good, self._last = goods - self._last, goods
        odds, far = self._odds.refused(good), self._far.refused(good)
        self._step_refusals += 1
        if after > 0.0 and not self.is_known:
            self._gaps.after(after)
            if self._gaps.are_even:
                self._end(now, goods, rested, was_chance=False)
                return True
        is_believed = rate <= self._believed
        if odds < (SURE if is_believed else REFUTED) and far < SURE:
            if is_believed:
                self._learn(goods)
                self._weigh(LEAST_STEP)
            return not self.is_on
        if self.is_known:
            self._alarmed = True
            self._believed = min(self._believed, BELIEVED * rate)
            self._rate = 0.0
        else:
            self._end(now, goods, rested, was_chance=False)
        return True

    def begin(self, now: float, goods: int, rested: float = 0.0) -> None:
        """The experiment begins."""
        doubts = self._doubts
        self.is_on, self.is_known, self.is_due = True, False, False
        self.pace = self._rate = doubts.pace
        self._answers, self._refusals = float(doubts.asked), float(doubts.refused)
        self._believed = 0.0
        self._alarmed = False
        self._began, self._began_goods = now - rested, goods
        self._step_goods, self._step_refusals = goods, 0
        self._last = self._heard = goods
        self._odds.clear()
        self._far.clear()
        self._gaps.clear()
        self._weigh(TRIED, -PROVEN)
        doubts.forget()

    # ------------------------------------------------------------------------------------------ decisions

    def is_proven(self, now: float, goods: int, rested: float = 0.0) -> bool:
        """True once the experiment has shown that refusals are chance."""
        if (
            now - rested - self._began < PROVEN_SECONDS
            or goods - self._began_goods < PROVEN_ANSWERS
            or self._odds.after(goods - self._last) > -PROVEN
            or not self._gaps.vary(goods - self._heard)
        ):
            return False
        self.is_known = True
        self._believed = self._rate
        self._end(now, goods, rested, was_chance=True)
        return True

    def is_borne(self, goods: int, rate: float, borne: float) -> bool:
        """True when nothing speaks against this rate (or, where it is new, enough for it)."""
        self._look(goods, rate, borne)
        odds = self._odds.after(goods - self._last)
        return odds < DOUBTFUL if rate <= self._believed else odds <= -BORNE

    def _end(self, now: float, goods: int, rested: float, *, was_chance: bool) -> None:
        self.is_on = was_chance
        self._doubts.answered(now, goods, self.pace, was_chance=was_chance, rested=rested)

    def _look(self, goods: int, rate: float, borne: float) -> None:
        """Where another rate is asked by now: the one before was borne, unless it was refused."""
        if rate == self._rate:
            return
        if self._rate:
            self._believed = max(self._believed, min(rate, self._rate))
            self._learn(goods)
        self._rate = rate
        self._step_goods, self._step_refusals = goods, 0
        self._last = goods
        self._odds.clear()
        self._far.clear()
        if rate <= self._believed:
            self._weigh(LEAST_STEP)
        else:
            self._weigh(min(max(rate / borne if borne else TRIED, LEAST_STEP), MOST_STEP), -BORNE)

    # ------------------------------------------------------------------------------------------ the usual share

    def _learn(self, goods: int) -> None:
        """What came at this rate is usual."""
        self._answers += goods - self._step_goods + self._step_refusals
        self._refusals += self._step_refusals
        self._step_goods, self._step_refusals = goods, 0
        while self._answers > MEMORY:
            self._answers /= 2
            self._refusals /= 2
        if self.is_known and self._answers >= OVER_ANSWERS and self._refusals < OVER_SHARE * self._answers:
            self.is_on = self.is_known = False

    def _weigh(self, step: float, floor: float = 0.0) -> None:
        self.share = share = min(BEARABLE, max(LEAST_SHARE, self._refusals / self._answers))
        self._odds.weigh(share, 1.0 - (1.0 - share) / step, floor)
        self._far.weigh(share, FAR_BEYOND)

    def __repr__(self) -> str:
        if not self.is_on:
            return f"Chance({self._doubts})"
        return f"Chance({self.share:.1%} of refusals, {'known' if self.is_known else 'tried'}, {self._odds})"
