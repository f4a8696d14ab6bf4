"""Why a tile is or isn't in a cache: which policy planned it, what was asked, what came; by ledger and cache."""

from harvester.why.account import Account, Denial, Held, Unplanned, explanation
from harvester.why.asking import why

__all__ = ["Account", "Denial", "Held", "Unplanned", "explanation", "why"]
