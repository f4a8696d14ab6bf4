"""Does a path lie on a network share?"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_SHARES = re.compile(
    r"nfs\d?|cifs|smb\w*|ncpfs|afs|9p|ceph|glusterfs|lustre|davfs|fuse\.(sshfs|rclone|davfs2?|s3fs|gcsfuse)"
)

_DRIVE_REMOTE = 4
"""GetDriveTypeW: a network drive."""


def is_network_share(path: Path, *, mounts: Path = Path("/proc/mounts")) -> bool:
    """Does ``path`` lie on a network share? Best effort, for a warning: False where the system does not say."""
    if sys.platform == "win32":
        import ctypes

        place = str(path.absolute())
        return place.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(path.absolute().anchor) == _DRIVE_REMOTE
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
        place = path.resolve()
    except OSError:
        return False
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks and the like are written as three octal digits (fstab(5)).
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1]))
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return _SHARES.fullmatch(kind) is not None
