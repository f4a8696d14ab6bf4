"""A new credential from a token service that may be busy, or away for a while: how long it is asked for one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from harvester.edges import Source
from harvester.engine.sites import Sites
from harvester.engine.tally import Tally
from harvester.errors import SourceError
from harvester.events import Event, Notice
from harvester.job import Limits

FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 30.0
"""Between two tries, each twice the one before: as between the probes of a host that is down."""


class Renewal:
    """Asks for a new credential; ``emit`` hears when it has to be waited for."""

    def __init__(
        self,
        *,
        source: Source,
        sites: Sites,
        tally: Tally,
        limits: Limits,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        emit: Callable[[Event], None],
    ) -> None:
        self._source = source
        self._sites = sites
        self._tally = tally
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._emit = emit

    async def ask(self, *, accepted: bool) -> None:
        """Renew it. A pause that is asked for is kept, or ends the run; what passes is tried again for as long as the
        run would wait for a tile. Raises HarvesterError for what does not, and at the end of that time."""
        pause = FIRST_REST_SECONDS
        while True:
            try:
                return await self._source.renew(accepted=accepted)
            except SourceError as error:
                asked = error.come_back_seconds
                if asked is None:
                    if not error.passes or not self._has_time_for(pause):
                        raise
                    if pause == FIRST_REST_SECONDS:
                        self._emit(Notice(text=f"no new token yet: {error.message}; it is asked for again"))
                elif self._sites.is_too_long_for_a_token(self._clock(), asked):
                    raise
            if asked is not None:
                await self._sleep(asked)
                continue
            await self._sleep(pause)
            pause = min(LONGEST_REST_SECONDS, pause * 2)

    def _has_time_for(self, pause: float) -> bool:
        return self._clock() + pause - self._tally.last_ended < self._limits.give_up_after_seconds
