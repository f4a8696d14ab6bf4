"""The command line in a process of its own; its last line on stderr is the most memory that it held, in bytes."""

from __future__ import annotations

import sys

from harvester.cli.frame import run
from harvester.cli.main import VERBS


def peak_bytes() -> int:
    """The peak of the resident set, as the operating system counts it."""
    if sys.platform == "win32":
        import ctypes
        from ctypes import wintypes

        class Counters(ctypes.Structure):
            """PROCESS_MEMORY_COUNTERS (psapi.h)."""

            _fields_ = (
                ("cb", wintypes.DWORD),
                ("faults", wintypes.DWORD),
                *((f"size{number}", ctypes.c_size_t) for number in range(8)),
            )

        counters = Counters(cb=ctypes.sizeof(Counters))
        handle = ctypes.windll.kernel32.GetCurrentProcess
        handle.restype = wintypes.HANDLE
        look = ctypes.windll.kernel32.K32GetProcessMemoryInfo
        look.argtypes = (wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD)
        assert look(handle(), ctypes.byref(counters), counters.cb)
        return int(counters.size0)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB on Linux


if __name__ == "__main__":
    code = run(sys.argv[1:], VERBS)
    sys.stderr.write(f"\n{peak_bytes()}\n")
    sys.exit(code)
