"""File operations end durable or in an error with a remedy; one run holds the lock; names are safe everywhere."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.durable import (
    MAX_NAME_BYTES,
    REPLACE_PATIENCE_SECONDS,
    Disk,
    disk_full,
    is_network_share,
    lock,
    safe_name,
    unique_names,
)
from harvester.errors import CacheError, LockedError


class Failing(Disk):
    """Fails the named step ``times`` times with ``error``; notes every step."""

    def __init__(self, name: str, error: OSError, times: int = 1 << 30, *, windows: bool = False) -> None:
        self.slept: list[float] = []
        super().__init__(sleep=self.slept.append, windows=windows)
        self.name, self.error, self.times = name, error, times
        self.steps: list[str] = []

    def step(self, name: str, path: Path) -> None:
        self.steps.append(name)
        if name == self.name and self.times > 0:
            self.times -= 1
            raise self.error


# ------------------------------------------------------------------------------------------------ files


def test_what_is_written_at_an_offset_is_read_back_there(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "file"
    descriptor = disk.open(path, write=True, create=True)
    disk.pwrite(descriptor, b"tile", 10)
    disk.pwritev(descriptor, [b"one", bytearray(b"two"), memoryview(b"three"), b""], 14)
    disk.fsync(descriptor)
    assert disk.size(descriptor) == 25
    assert disk.read(descriptor, 100, 8) == b"\0\0tileonetwothree"
    assert disk.read(descriptor, 4, 10) == b"tile"
    assert disk.read(descriptor, 4, 25) == b""
    disk.truncate(descriptor, 14)
    assert disk.size(descriptor) == 14
    disk.close(descriptor)


def test_more_buffers_than_one_call_takes_are_all_written(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "file"
    buffers = [bytes([number % 251]) * (number % 7) for number in range(3000)]
    descriptor = disk.open(path, write=True, create=True)
    disk.pwritev(descriptor, buffers, 3)
    disk.close(descriptor)
    assert path.read_bytes() == b"\0\0\0" + b"".join(buffers)


def test_writing_a_small_file_whole_replaces_it_and_leaves_no_part(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "conf.xml"
    disk.write_whole(path, b"old and long")
    disk.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["conf.xml"]


def test_a_small_file_is_synced_before_it_gets_its_name(tmp_path: Path) -> None:
    disk = Failing("none", OSError())
    disk.write_whole(tmp_path / "root.json", b"{}")
    assert disk.steps.index("sync") < disk.steps.index("replace") < disk.steps.index("sync_folder")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "conf.xml"
    Disk().write_whole(path, b"old")
    for step in ("open", "write", "sync", "replace"):
        with pytest.raises(CacheError):
            Failing(step, OSError(errno.EIO, "Input/output error")).write_whole(path, b"new")
        assert path.read_bytes() == b"old"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_writing_whole_through_a_link_replaces_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    real, link = tmp_path / "deep" / "real.json", tmp_path / "link.json"
    real.write_bytes(b"old")
    os.link(real, tmp_path / "second name")
    link.symlink_to(Path("deep") / "real.json")
    Disk().write_whole(link, b"new")
    assert link.is_symlink()
    assert (real.read_bytes(), (tmp_path / "second name").read_bytes()) == (b"new", b"old")
    assert sorted(file.name for file in (tmp_path / "deep").iterdir()) == ["real.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_to_and_stays(tmp_path: Path, linked: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    target = tmp_path / "link" if linked else pipe
    if linked:
        target.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        Disk().try_whole(target)
        Disk().write_whole(target, b"{}")
        assert os.read(reader, 10) == b"{}"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert target.is_symlink() is linked
    assert {file.name for file in tmp_path.iterdir()} == {"pipe", target.name}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors have no names")
@pytest.mark.parametrize("folder", ["/proc/self/fd", "/dev/fd"])
def test_what_a_process_has_open_is_written_to_where_it_stands(tmp_path: Path, folder: str) -> None:
    shell, link = tmp_path / "out.txt", tmp_path / "link"
    descriptor = os.open(shell, os.O_RDWR | os.O_CREAT)
    link.symlink_to(f"{folder}/{descriptor}")
    try:
        os.write(descriptor, b"before ")
        Disk().write_whole(Path(f"{folder}/{descriptor}"), b"report ")
        Disk().write_whole(link, b"again ")
        os.write(descriptor, b"after")
    finally:
        os.close(descriptor)
    assert shell.read_bytes() == b"before report again after"
    assert link.is_symlink()


def test_whether_a_file_can_be_written_whole_is_seen_before_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    Disk().try_whole(tmp_path / "file")
    Disk().try_whole(tmp_path / "new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]
    for path in (tmp_path, tmp_path / "no folder" / "file", tmp_path / "file" / "below"):
        with pytest.raises(CacheError):
            Disk().try_whole(path)


def test_what_has_the_name_of_a_half_written_file_stays_where_a_person_chose_the_name(tmp_path: Path) -> None:
    (tmp_path / "report.json.part").write_bytes(b"mine")
    (tmp_path / "report.json.part-2").symlink_to("nowhere")
    path = tmp_path / "report.json"
    Disk().try_whole(path)
    assert not path.exists()
    for data in (b"first", b"second"):
        Disk().write_named(path, data)
    for step in ("open", "write", "sync", "replace"):
        with pytest.raises(CacheError):
            Failing(step, OSError(errno.EIO, "Input/output error")).write_named(path, b"third")
    assert (path.read_bytes(), (tmp_path / "report.json.part").read_bytes()) == (b"second", b"mine")
    assert sorted(os.listdir(tmp_path)) == ["report.json", "report.json.part", "report.json.part-2"]


def test_folders_are_made_removed_and_synced(tmp_path: Path) -> None:
    disk = Failing("none", OSError())
    deep = tmp_path / "a" / "b" / "c"
    disk.make_dirs(deep)
    disk.make_dirs(deep)
    assert deep.is_dir()
    assert disk.steps.count("sync_folder") == 3
    (deep / "file").write_bytes(b"x")
    disk.remove(deep / "file")
    disk.remove(deep / "file")
    disk.remove_tree(tmp_path / "a")
    disk.remove_tree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_removing_a_linked_folder_keeps_what_it_points_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"x")
    link = tmp_path / "link"
    try:
        link.symlink_to(kept, target_is_directory=True)
    except OSError:
        pytest.skip("this system lets us make no links")
    Disk().remove_tree(link)
    assert (kept / "file").exists()
    assert not link.exists()


def test_a_full_disk_says_how_much_is_needed_and_what_to_do(tmp_path: Path) -> None:
    disk = Failing("write", OSError(errno.ENOSPC, "No space left on device"))
    descriptor = disk.open(tmp_path / "file", write=True, create=True)
    with pytest.raises(CacheError) as caught:
        disk.pwritev(descriptor, [b"x" * 1000, b"y" * 234], 0)
    disk.close(descriptor)
    assert caught.value.code == "disk_full"
    assert "1,234 bytes were refused" in caught.value.message
    assert "available" in caught.value.message
    assert "Free some space, then run the same command again" in caught.value.hint
    assert caught.value.exit_code == 4


def test_a_file_system_that_takes_no_more_files_is_not_said_to_lack_bytes(tmp_path: Path) -> None:
    error = disk_full(tmp_path / "a", 100, inodes=lambda path: 0)
    assert "no inodes left" in error.message
    assert "Remove files" in error.hint and "one file" in error.hint
    assert "100 bytes were refused" in disk_full(tmp_path / "a", 100, inodes=lambda path: 1).message


def test_a_full_disk_never_says_that_less_is_needed_than_there_is(tmp_path: Path) -> None:
    short = disk_full(tmp_path / "a", 1 << 62, inodes=lambda path: 1).message
    assert "bytes are available, 4,611,686,018,427,387,904 are needed" in short
    enough = disk_full(tmp_path / "a", 100, inodes=lambda path: 1).message
    assert "are needed" not in enough
    assert "100 bytes were refused" in enough and "quota" in enough
    assert "refused" not in disk_full(tmp_path / "a", inodes=lambda path: 1).message


def test_a_file_that_may_not_grow_names_what_may_limit_it(tmp_path: Path) -> None:
    disk = Failing("write", OSError(errno.EFBIG, os.strerror(errno.EFBIG)))
    descriptor = disk.open(tmp_path / "file", write=True, create=True)
    with pytest.raises(CacheError) as caught:
        disk.pwrite(descriptor, b"x", 0)
    disk.close(descriptor)
    assert caught.value.code == "too_large"
    assert "ulimit -f" in caught.value.hint and "FAT32" in caught.value.hint


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EACCES, "permission"), (errno.EROFS, "permission"), (errno.EIO, "cache")]
)
def test_other_errors_name_the_file_and_a_remedy(tmp_path: Path, number: int, code: str) -> None:
    with pytest.raises(CacheError) as caught:
        Failing("open", OSError(number, os.strerror(number))).open(tmp_path / "file")
    assert caught.value.code == code
    assert "file" in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CacheError) as caught:
        Disk().open(tmp_path / "none")
    assert caught.value.code == "missing"


@pytest.mark.parametrize("act", ["replace", "remove", "remove_tree"])
def test_on_windows_a_file_that_is_held_for_a_moment_is_waited_for(tmp_path: Path, act: str) -> None:
    source, target = tmp_path / "new", tmp_path / "out"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    disk = Failing(act, PermissionError(errno.EACCES, "in use"), times=3, windows=True)
    if act == "replace":
        disk.replace(source, target)
        assert target.read_bytes() == b"new"
    elif act == "remove":
        disk.remove(target)
        assert not target.exists()
    else:
        folder = tmp_path / "folder"
        folder.mkdir()
        disk.remove_tree(folder)
        assert not folder.exists()
    assert len(disk.slept) == 3


def test_on_windows_a_file_that_stays_held_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    source, target = tmp_path / "new", tmp_path / "out"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    disk = Failing("replace", PermissionError(errno.EACCES, "in use"), windows=True)
    with pytest.raises(CacheError) as caught:
        disk.replace(source, target)
    assert caught.value.code == "in_use"
    assert "Close the program" in caught.value.hint
    assert sum(disk.slept) == pytest.approx(REPLACE_PATIENCE_SECONDS)
    assert (source.read_bytes(), target.read_bytes()) == (b"new", b"old")


def test_elsewhere_a_forbidden_rename_is_an_error_at_once(tmp_path: Path) -> None:
    disk = Failing("replace", PermissionError(errno.EACCES, "forbidden"))
    with pytest.raises(CacheError) as caught:
        disk.replace(tmp_path / "new", tmp_path / "out")
    assert caught.value.code == "permission"
    assert disk.slept == []


def test_folders_are_not_synced_on_windows(tmp_path: Path) -> None:
    disk = Failing("none", OSError(), windows=True)
    disk.sync_folder(tmp_path / "no such folder")
    assert disk.steps == []


def test_free_space_is_told_for_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    assert Disk().free_bytes(tmp_path / "a" / "b") > 0


# ------------------------------------------------------------------------------------------------ the lock

HOLDING = """
import sys
from pathlib import Path
from harvester.durable import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin and process.stdout
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=30)


def test_a_second_run_is_refused_at_once_with_the_holder_s_pid_and_host(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    process = holding(path)
    try:
        for _ in range(2):  # the first refused one must not have wiped out who holds it
            with pytest.raises(LockedError) as caught:
                lock(path)
            assert f"pid {process.pid} on " in caught.value.message
            assert caught.value.exit_code == 4
        assert [file.name for file in tmp_path.iterdir()] == ["out.lock"]
    finally:
        end(process)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    process = holding(path)
    process.kill()
    end(process)
    assert path.exists()
    with lock(path):
        with pytest.raises(LockedError) as caught:
            lock(path)
        assert f"pid {os.getpid()} on " in caught.value.message
    assert not path.exists()


def test_the_same_process_cannot_hold_it_twice_and_may_release_twice(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    held = lock(path)
    with pytest.raises(LockedError):
        lock(path)
    held.release()
    held.release()
    lock(path).release()
    assert not path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not let an open file be removed")
def test_a_file_that_was_removed_under_its_holder_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "out.lock"
    first = lock(path)
    path.unlink()
    second = lock(path)
    first.release()
    second.release()
    assert not path.exists()


RACING = """
import sys
from pathlib import Path
from harvester.durable import lock
from harvester.errors import LockedError
path, inside = Path(sys.argv[1]), Path(sys.argv[2])
held = 0
while held < 1500:
    try:
        with lock(path):
            inside.touch(exist_ok=False)  # fails when another is inside, too
            inside.unlink()
            held += 1
    except LockedError:
        pass
"""


def test_removing_the_file_on_release_never_lets_two_in(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", RACING, str(tmp_path / "out.lock"), str(tmp_path / "inside")]
    racers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for racer in racers:
        _, errors = racer.communicate(timeout=60)
        assert racer.returncode == 0, errors
    assert list(tmp_path.iterdir()) == []


def test_a_lock_in_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CacheError):
        lock(tmp_path / "none" / "out.lock")


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Streets", "Streets"),
        ("Straßen & Wege (2024)", "Straßen & Wege (2024)"),
        ("a/b\\c:d", "a_b_c_d"),
        ('<>:"|?*', "_______"),
        ("con", "_con"),
        ("Con.tpkx", "_Con.tpkx"),
        ("COM1", "_COM1"),
        ("com¹ .x", "_com¹ .x"),
        ("Console", "Console"),
        ("CONIN$", "_CONIN$"),
        (".hidden", "_hidden"),
        ("..", "_"),
        ("name. . ", "name"),
        ("name.\u2003", "name"),
        ("  name", "name"),
        ("a\x00b\x1fc\x7f", "a_b_c_"),
        ("evil\u202egpj", "evil_gpj"),
        ("\ud800", "_"),
        ("", "unnamed"),
        (" . ", "_"),
        ("e\u0301", "\u00e9"),
    ],
)
def test_names_are_made_safe(text: str, name: str) -> None:
    assert safe_name(text) == name


@given(st.text(st.characters()) | st.text(st.sampled_from('con.aux ./\\:*?"<>|\x00é\u0301١'), max_size=12))
def test_a_safe_name_is_safe_everywhere(text: str) -> None:
    name = safe_name(text)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & set('<>:"/\\|?*')
    assert all(ord(letter) >= 32 for letter in name)
    assert name == name.strip()
    assert not name.startswith(".") and not name.endswith(".")
    assert name.split(".")[0].strip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert unicodedata.is_normalized("NFC", name)
    assert safe_name(name) == name


def test_a_long_name_is_cut_between_letters() -> None:
    name = safe_name("ä" * 500)
    assert name == "ä" * (MAX_NAME_BYTES // 2)


def test_same_names_get_numbers_and_the_first_of_a_kind_keeps_its_own() -> None:
    assert unique_names(["Roads", "Roads", "roads", "Parcels"]) == ["Roads", "Roads-2", "roads-3", "Parcels"]
    assert unique_names(["a", "a", "a-2"]) == ["a", "a-3", "a-2"]
    assert unique_names(["a/b", "a:b"]) == ["a_b", "a_b-2"]
    assert unique_names(["STRASSE", "straße"]) == ["STRASSE", "straße-2"]
    assert unique_names(["road", "ro\u200dad", "\u200eroad"]) == ["road", "ro\u200dad-2", "\u200eroad-3"]
    assert unique_names(["\u00e9", "e\u0301"]) == ["\u00e9", "\u00e9-2"]


@given(st.lists(st.text(st.sampled_from("aA-23é."), max_size=4), max_size=12))
def test_no_two_names_are_one_file(names: list[str]) -> None:
    folded = [unicodedata.normalize("NFC", name.casefold()) for name in unique_names(names)]
    assert len(set(folded)) == len(names)


# ------------------------------------------------------------------------------------------------ shares


@pytest.mark.skipif(os.name == "nt", reason="Windows is asked in another way")
def test_network_shares_are_told_by_their_mount(tmp_path: Path) -> None:
    share, blank, local = tmp_path / "share", tmp_path / "with blank", tmp_path / "share" / "disk"
    for folder in (share, blank, local):
        folder.mkdir()
    written = str(blank).replace(" ", "\\040")
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda1 / ext4 rw 0 0\nserver:/x {share} nfs4 rw 0 0\n//server/y {written} cifs rw 0 0\n"
        f"/dev/sdb1 {local} ext4 rw 0 0\nbroken\n"
    )
    assert is_network_share(share / "deep" / "out.mbtiles", mounts=mounts)
    assert is_network_share(blank, mounts=mounts)
    assert not is_network_share(local / "out.mbtiles", mounts=mounts)
    assert not is_network_share(tmp_path, mounts=mounts)
    assert not is_network_share(share, mounts=tmp_path / "no such list")
