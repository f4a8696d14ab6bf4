"""The contracts between the rooms: what is asked (Request), what came (Answer), what it means (Verdict), and what
Source, Transport, Cache and Ledger promise. The engine knows these and no class behind them.

Names are imported from here; each file has one edge.
"""

from typing import TYPE_CHECKING

from harvester.edges.asking import (
    MAX_TILE_BYTES,
    Answer,
    Done,
    Fault,
    Host,
    Next,
    Request,
    Transport,
    Wait,
    what_came,
)
from harvester.edges.batch import Stored, StoredBatch, bodies_of, groups_of
from harvester.edges.cache import CacheInfo, CacheReader, CacheWriter, Damage, Stamps, Subject
from harvester.edges.judging import PASSING, Outcome, Verdict, WindowAnswer
from harvester.edges.ledger import BlockChange, Ledger, LedgerFailure, told
from harvester.edges.source import ServiceInfo, Source, TileFormat, VectorLayer
from harvester.edges.states import State

if TYPE_CHECKING:
    from harvester.edges.states import Mask as Mask
    from harvester.edges.states import States as States

__all__ = [
    "MAX_TILE_BYTES", "PASSING", "Answer", "BlockChange", "CacheInfo", "CacheReader", "CacheWriter", "Damage", "Done",
    "Fault", "Host", "Ledger", "LedgerFailure", "Next", "Outcome", "Request", "ServiceInfo", "Source", "Stamps",
    "State", "Stored", "StoredBatch", "Subject", "TileFormat", "Transport", "VectorLayer", "Verdict", "Wait",
    "WindowAnswer", "bodies_of", "groups_of", "told", "what_came",
]  # fmt: skip
