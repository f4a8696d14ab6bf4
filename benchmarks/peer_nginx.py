"""The server of the comparison with other tools: nginx, one worker on a core of its own, a hundred whole PNGs.

nginx comes from the ``PATH``, from ``.peers/`` or, on Debian and its kin, as a package unpacked there (no root needed).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.map_server import PATH, PICTURES, document, pictures
from benchmarks.measure import ROOT, SERVER_CPU

FOLDER = ROOT / ".peers"

START_SECONDS = 20.0

MISSING = (
    "nginx is needed to compare with other tools: install it (Debian and Ubuntu: apt-get install nginx-light), "
    "or put it on the PATH"
)

CONF = """
{user}
daemon off;
worker_processes 1;
worker_cpu_affinity {affinity};
worker_rlimit_nofile 8192;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  open_file_cache max=1000 inactive=1h;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {folder}/pictures;
    location = {path} {{ default_type application/json; try_files /document.json =404; }}
    location ~ ^{path}/tile/\\d+/\\d*(?<row>\\d)/\\d*(?<col>\\d)$ {{
      default_type image/png; try_files /$row$col.png =404;
    }}
  }}
}}
"""
"""A tile's picture is chosen by the last digits of row and column, as ``map_server.body_of`` says."""


class PeerError(RuntimeError):
    """A tool of the comparison is missing, or did not do its work."""


def find_nginx() -> Path:
    """The program. Raises PeerError where it is not to be had."""
    kept = FOLDER / "usr" / "sbin" / "nginx"
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found:
        return Path(found)
    if kept.is_file():
        return kept
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PeerError(MISSING)
    FOLDER.mkdir(exist_ok=True)
    subprocess.run(["apt-get", "download", "-qq", "nginx"], cwd=FOLDER, check=False, stderr=subprocess.DEVNULL)
    for package in FOLDER.glob("nginx_*.deb"):
        subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=FOLDER, check=True)
        package.unlink()
    if not kept.is_file():
        raise PeerError(MISSING)
    return kept


@contextlib.contextmanager
def nginx(size: int) -> Iterator[str]:
    """A running server until the block ends; yields the service's address."""
    program = find_nginx()
    with tempfile.TemporaryDirectory(prefix="harvester-nginx-") as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        (folder / "pictures" / "document.json").write_bytes(document())
        for number in range(PICTURES):
            (folder / "pictures" / f"{number:02}.png").write_bytes(pictures(size)[number])
        port = _free_port()
        user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
        affinity = f"{1 << SERVER_CPU:0{os.cpu_count() or 1}b}"
        conf = folder / "nginx.conf"
        conf.write_text(CONF.format(folder=folder, port=port, path=PATH, user=user, affinity=affinity))
        command = [str(program), "-p", name, "-c", str(conf), "-e", str(folder / "error.log")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                _wait(process, port, folder / "error.log")
                yield f"http://127.0.0.1:{port}{PATH}"
            finally:
                process.terminate()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[str], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise PeerError(f"nginx does not answer: {log.read_text() if log.is_file() else ''}")
