"""Files written completely or not at all: kills, full disks, links, devices, permissions and unusual names."""

import errno
import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bpjax.util import files
from bpjax.util.files import write_file

unix = pytest.mark.skipif(os.name != "posix", reason="FIFOs, devices and signals are those of Unix")

# Children load the module by its path: without JAX they start in 0.1 s and can fork.
LOAD = f"""
import importlib.util, os, resource, sys
spec = importlib.util.spec_from_file_location("files", {files.__file__!r})
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
folder = sys.argv[1]
"""


def in_a_child(script: str, folder: Path, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-I", "-c", LOAD + script, str(folder)]
    return subprocess.run(command, capture_output=True, check=True, timeout=60, **options)


KILLS = """
def killed_at(n, path, data):
    "Write in a fork that ends without any cleaning up at its n-th call of a function written in C."
    if (child := os.fork()) == 0:
        left = [n]
        def count(frame, event, function):
            if event == "c_call":
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
        sys.setprofile(count)
        files.write_file(path, data)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for name, old in (("file", b"old" * 40_000), ("link", b"old" * 40_000), ("new/file", None)):
    n, status, found = 0, 9, []
    while status == 9:
        n += 1
        path = os.path.join(folder, f"{n}", name)
        os.makedirs(os.path.join(folder, f"{n}"), exist_ok=True)
        real = path
        if name == "link":
            real = os.path.join(folder, f"{n}", "target")
            os.symlink("target", path)
        if old is not None:
            with open(real, "wb") as file:
                file.write(old)
            os.chmod(real, 0o640)
        status = killed_at(n, path, b"new" * 50_000)
        content = open(real, "rb").read() if os.path.exists(real) else None
        assert content in (old, b"new" * 50_000), (name, n)
        assert old is None or os.stat(real).st_mode & 0o777 == 0o640, (name, n)
        assert name != "link" or os.readlink(path) == "target", n
        found.append(content == b"new" * 50_000)
    assert status == 0 and found[-1] and not found[0], (name, status)
    assert found == sorted(found), found  # once it is new, it stays new
    print(name, n)
"""


@unix
def test_killed_at_any_call_the_file_is_the_old_or_the_new_one(tmp_path):
    counted = in_a_child(KILLS, tmp_path).stdout.split()
    assert [int(n) > 20 for n in counted[1::2]] == [True] * 3  # the events of each kind of write


FULL = """
path = os.path.join(folder, "file")
files.write_file(path, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the system then refuses a write half way
try:
    files.write_file(path, b"x" * 200_000)
except ValueError as error:
    print(error)
assert open(path, "rb").read() == b"old" and os.listdir(folder) == ["file"]
"""


@unix
def test_a_write_that_the_system_ends_half_way_leaves_the_old_file(tmp_path):
    message = in_a_child(FULL, tmp_path).stdout.decode().strip()
    assert message == f"{tmp_path}/file cannot be written (File too large): choose another place."


@pytest.mark.parametrize("event", ["open", "fsync", "chmod", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_an_error_at_any_event_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, event, number):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, event, fail)
        with pytest.raises(ValueError, match=rf"file cannot be written \({os.strerror(number)}\): choose another"):
            write_file(path, b"new")
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


NOBODY = """
os.chmod(folder, 0o755)
write = os.path.join(folder, "file")
files.write_file(write, b"old")
os.chmod(write, 0o444)
if os.getuid() == 0:
    os.setuid(65534)
else:
    os.chmod(folder, 0o555)
for path in (write, os.path.join(folder, "new")):
    try:
        files.write_file(path, b"new")
    except ValueError as error:
        print(error)
assert os.listdir(folder) == ["file"] and open(write, "rb").read() == b"old"
"""


@unix
def test_read_only_files_and_folders_are_left_as_they_are(tmp_path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith(("pytest-", "popen-", "test_")):
            folder.chmod(0o755)  # so that another user may look into it
    lines = in_a_child(NOBODY, tmp_path).stdout.decode().splitlines()
    assert lines == [
        f"{tmp_path}/file cannot be written (the file is read-only): choose another place.",
        f"{tmp_path}/new cannot be written (Permission denied): choose another place.",
    ]


MASKS = """
os.umask(0o027)
os.umask = None  # reading the umask sets it for a moment, for all threads
files.write_file(os.path.join(folder, "new"), b"x")
os.chmod(os.path.join(folder, "new"), 0o604)
files.write_file(os.path.join(folder, "new"), b"y")
files.write_file(os.path.join(folder, "other"), b"x")
print(*(oct(os.stat(os.path.join(folder, name)).st_mode)[-3:] for name in ("new", "other")))
"""


@unix
def test_a_new_file_gets_the_permissions_of_the_umask_and_an_old_one_keeps_its_own(tmp_path):
    assert in_a_child(MASKS, tmp_path).stdout.split() == [b"604", b"640"]


@unix
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path):
    real, link, second = tmp_path / "real", tmp_path / "link", tmp_path / "second"
    real.write_bytes(b"old")
    link.symlink_to("real")
    second.symlink_to(link)
    write_file(second, b"new")
    assert (link.is_symlink(), second.is_symlink(), real.read_bytes()) == (True, True, b"new")
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "deep" / "target")
    write_file(dangling, b"x")
    assert dangling.is_symlink() and (tmp_path / "deep" / "target").read_bytes() == b"x"
    link.unlink()
    link.symlink_to(second)
    with pytest.raises(ValueError, match=r"second cannot be written \(Too many levels of symbolic links\)"):
        write_file(second, b"x")


@unix
def test_devices_and_fifos_stay_what_they_are(tmp_path):
    write_file("/dev/null", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if os.path.exists("/dev/full"):
        with pytest.raises(ValueError, match=r"/dev/full cannot be written \(No space left on device\)"):
            write_file("/dev/full", b"x")
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write_file(fifo, b"x" * 200_000)  # more than a pipe holds at once
    reader.join(timeout=10)
    assert read == [b"x" * 200_000] and stat.S_ISFIFO(fifo.stat().st_mode)


OUT = """
print("first")
files.write_file("/dev/stdout", b"second\\n")
print("third")
files.write_file("/dev/fd/1", b"fourth\\n")
for path in ("/dev/fd/77", "/dev/stdout/x"):
    try:
        files.write_file(path, b"x")
    except ValueError as error:
        print(error)
"""


@unix
@pytest.mark.parametrize("into", ["a pipe", "a file"])
def test_standard_output_is_written_in_order(tmp_path, into):
    if into == "a pipe":
        lines = in_a_child(OUT, tmp_path).stdout
    else:
        with open(tmp_path / "out", "wb") as file:
            subprocess.run([sys.executable, "-I", "-c", LOAD + OUT, str(tmp_path)], stdout=file, check=True, timeout=60)
        lines = (tmp_path / "out").read_bytes()
    assert lines.decode().splitlines() == [
        *("first", "second", "third", "fourth"),
        "/dev/fd/77 cannot be written (Bad file descriptor): choose another place.",
        "/dev/stdout/x cannot be written (Not a directory): choose another place.",
    ]


def test_two_writers_at_once_never_mix(tmp_path):
    path, contents = tmp_path / "file", [bytes([65 + i]) * (100_000 + i) for i in range(4)]
    write_file(path, contents[0])

    def write(content):
        for _ in range(25):
            write_file(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_names(tmp_path):
    longest = tmp_path / ("n" * 255)  # the longest that file systems allow: a temporary name is not made of it
    write_file(longest, b"x")
    assert longest.read_bytes() == b"x"
    with pytest.raises(ValueError, match=r"cannot be written \(File name too long\)"):
        write_file(tmp_path / ("n" * 256), b"x")
    write_file(str(tmp_path / "ü ñ\n%s"), b"x")
    write_file(tmp_path / "deep" / "er", b"x")
    for wrong in ("", None, 3, "a\0b", io.BytesIO()):
        with pytest.raises(ValueError, match=r"`write_file` expected a path, such as 'net.safetensors', got"):
            write_file(wrong, b"x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"is a folder: name the file to write"):
        write_file(tmp_path, b"x")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take names of text alone")
def test_a_name_that_is_not_text(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    write_file(name, b"x")
    with open(name, "rb") as file:
        assert file.read() == b"x"
    with pytest.raises(ValueError) as error:
        write_file(name + b"/below", b"x")
    assert r"\xff\xfe/below cannot be written (Not a directory)" in str(error.value).encode().decode()
