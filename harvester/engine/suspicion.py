"""Answers that speak of the whole service and not of a tile: when nearly all are such, the source cannot be used."""

from __future__ import annotations

from collections import deque

from harvester.edges import Answer
from harvester.engine.stop import StopReason
from harvester.redact import site_of

SUSPECT_TRIES = 20
"""First tries that are looked at together for an answer that speaks of the whole service (a login page, a portal), as
long as no tile was ever answered well."""

SUSPECT_SECONDS = 15.0
"""Once tiles were answered well, a row of bad ones may be their own trouble, and a maintenance page goes away: only
when the breaker has been open for so long (four probes) is it a portal in the way."""

SUSPECT_SHARE = 0.9
"""Share of them that must be of that kind to stop: a few bad tiles are those tiles' own trouble."""

SUSPECTS = {
    "not_an_image": "every tile comes as a page instead of a picture (a login page, a proxy, a portal?)",
    "error_page": "every tile comes as a page instead of a picture (a login page, a proxy, a portal?)",
    "redirect": "every tile is redirected (a login page, a moved service?)",
    "http_403": "every tile is refused (403)",
    "forbidden": "every tile is refused (403)",
}
"""Reasons that, when nearly all first tries have them, mean that the source cannot be used."""

LOOK = (
    "Open one tile's address in a browser; a token, --header, --proxy or --ca-bundle may be missing. "
    "The run's state is saved."
)

MOVED = (
    "Tiles are never asked elsewhere: if the service has moved there, name its address there as the source (hosts that "
    "its documents point to: --allow-host HOST); a login page needs --token-env or --header. The run's state is saved."
)

REFUSALS = frozenset({"http_403", "forbidden"})
"""Of these, some are the tiles' own: a service may show one region and refuse another."""


class Suspicion:
    """Looks at the last first tries together."""

    def __init__(self) -> None:
        self.reasons: deque[str] = deque(maxlen=SUSPECT_TRIES)
        """Of the verdicts on the last first tries; the hot path appends them by itself."""

    def reason_to_stop(
        self, reason: str, answer: Answer, answered_well: bool, open_for: float | None
    ) -> StopReason | None:
        """Why the run should stop after an answer whose reason is one of SUSPECTS; None while it should not.

        ``answered_well``: some tile was. ``open_for``: seconds since the breaker opened, None while it is closed.
        """
        if len(self.reasons) < SUSPECT_TRIES:
            return None
        if answered_well and (reason in REFUSALS or open_for is None or open_for < SUSPECT_SECONDS):
            return None
        share = sum(seen in SUSPECTS for seen in self.reasons) / SUSPECT_TRIES
        if share < SUSPECT_SHARE:
            return None
        what, hint = SUSPECTS[reason], LOOK
        if reason == "redirect":
            site = site_of(answer.headers.get("location", "")) or "another place of the same host"
            what, hint = what.replace("redirected", f"redirected to {site}"), MOVED
        message = f"{what}: {share:.0%} of the last {SUSPECT_TRIES} tiles"
        return StopReason(code="unusable", message=message, hint=hint, exit_code=3)
