"""One file a hot path: each runs once among the tests, and is timed by ``python -m benchmarks``."""
