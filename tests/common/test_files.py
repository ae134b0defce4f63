from __future__ import annotations

import errno
import fcntl

import click
import pytest

from tsgen.common.cli import LazyGroup, run_command
from tsgen.common.errors import UsageError
from tsgen.common.files import atomic_folder, atomic_path, locked


def fill(folder, text):
    (folder / "a.txt").write_text(text)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    final = tmp_path / "final"
    with atomic_folder(final) as partial:
        fill(partial, "first")
    with pytest.raises(RuntimeError), atomic_folder(final) as partial:
        fill(partial, "second")
        raise RuntimeError
    assert (final / "a.txt").read_text() == "first"
    assert list(tmp_path.iterdir()) == [final]


def test_the_former_folder_comes_back_when_the_second_rename_fails(tmp_path, monkeypatch):
    final = tmp_path / "final"
    with atomic_folder(final) as partial:
        fill(partial, "first")
    rename = type(final).rename

    def fails_once(self, target):
        if target == final and "first" not in (self / "a.txt").read_text():
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(final), "rename", fails_once)
    with pytest.raises(KeyboardInterrupt), atomic_folder(final) as partial:
        fill(partial, "second")
    assert (final / "a.txt").read_text() == "first"
    assert list(tmp_path.iterdir()) == [final]


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    final = tmp_path / "a.txt"
    with atomic_path(final) as first, atomic_path(final) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert final.read_text() == "1"


def test_an_error_of_the_system_is_one_line(capsys):
    group = LazyGroup(name="x", lazy={"fail": ("test_files:none", "")})

    @click.command()
    def fail():
        raise OSError(28, "No space left on device")

    group.get_command = lambda ctx, name: fail
    group.main = lambda **options: fail.main([], **options)
    with pytest.raises(SystemExit) as stop:
        run_command(group)
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
    def refused(descriptor, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_lock_refuses_a_second_and_lets_problems_of_the_block_pass(tmp_path, what):
    path = tmp_path / "one"
    path.touch() if what == "file" else path.mkdir()
    with locked(path), pytest.raises(UsageError, match="another process works on"), locked(path):
        pass
    with pytest.raises(BlockingIOError), locked(path):
        raise BlockingIOError
    with locked(path, shared=True), locked(path, shared=True):
        pass
