"""How fast to ask: rate, adaptive concurrency, retries, breaker, pauses: pure state machines with a clock argument."""

from harvester.pacing.breaker import LONGEST_PAUSE_SECONDS, Breaker, HostPause
from harvester.pacing.concurrency import Concurrency
from harvester.pacing.learned import LearnedRate
from harvester.pacing.pacer import Pacer
from harvester.pacing.rate import RateLimit
from harvester.pacing.retry import RetryBudget, RetryHeap, backoff

__all__ = [
    "LONGEST_PAUSE_SECONDS",
    "Breaker",
    "Concurrency",
    "HostPause",
    "LearnedRate",
    "Pacer",
    "RateLimit",
    "RetryBudget",
    "RetryHeap",
    "backoff",
]
