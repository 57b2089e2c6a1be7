"""Whatever nobody foresaw: one line, a file to report it with, exit status 1, and no traceback on the terminal."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from segment_tiles.cli import main
from segment_tiles.cli.commands import info


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next command end with an error."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(main, "_run", fail)


def test_one_line_and_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fail_with(ZeroDivisionError("by\nnothing"), monkeypatch)
    source = "https://someone:hidden@host/scene.tif?token=hidden"
    assert main.run_command_line(["info", source]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "this was not foreseen (ZeroDivisionError: by nothing)" in lines[0]
    (report,) = tmp_path.glob("segment-tiles-error-*.txt")
    assert str(report) in lines[0]
    text = report.read_text()
    assert "command: segment-tiles info https://host/scene.tif" in text
    assert "hidden" not in text
    assert "Traceback (most recent call last)" in text
    assert "torch: " in text


def test_a_working_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir("/proc")
    fail_with(KeyError("a"), monkeypatch)
    assert main.run_command_line(["info", "a"]) == 1
    (report,) = tmp_path.glob("segment-tiles/segment-tiles-error-*.txt")
    assert str(report) in capsys.readouterr().err


def test_a_working_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    fail_with(KeyError("a"), monkeypatch)
    assert main.run_command_line(["info", "a"]) == 1
    assert "segment-tiles-error-" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)


SHORTAGES: dict[str, tuple[Callable[[], BaseException], str]] = {
    "memory": (MemoryError, "too little memory"),
    "threads": (lambda: RuntimeError("can't start new thread"), "too little memory"),
    "GPU": (
        lambda: RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        "the GPU has too little memory",
    ),
    "files": (lambda: OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    "disk": (lambda: OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    "rights": (lambda: PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: permission denied"),
}


@pytest.mark.parametrize("case", SHORTAGES)
def test_shortages_of_the_machine_need_no_report(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make, expected = SHORTAGES[case]
    monkeypatch.chdir(tmp_path)
    error = ValueError("on the way")
    error.__cause__ = make()
    fail_with(error, monkeypatch)
    assert main.run_command_line(["info", "a"]) == 1
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def raised_while_handling(outer: BaseException, inner: BaseException) -> BaseException:
    try:
        try:
            raise inner
        except type(inner):
            raise outer  # noqa: B904 - as a bug in a handler
    except type(outer) as error:
        return error


@pytest.mark.parametrize("is_suppressed", [False, True])
def test_a_bug_while_a_shortage_was_handled_has_a_report(
    is_suppressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outer: BaseException = RuntimeError("a bug") if is_suppressed else KeyError("a bug")
    error = raised_while_handling(outer, PermissionError(errno.EACCES, "Permission denied", "/a/b"))
    error.__suppress_context__ = is_suppressed
    fail_with(error, monkeypatch)
    assert main.run_command_line(["info", "a"]) == 1
    assert "this was not foreseen" in capsys.readouterr().err
    assert len(list(tmp_path.glob("segment-tiles-error-*.txt"))) == 1


def test_a_library_that_tells_a_shortage_in_its_own_error_needs_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shortage = OSError(errno.ENOSPC, "No space left on device")
    fail_with(raised_while_handling(RuntimeError("unexpected pos 64 vs 0"), shortage), monkeypatch)
    assert main.run_command_line(["info", "a"]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_ends_too_early_is_no_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer takes any EOFError for Ctrl-D."""
    monkeypatch.chdir(tmp_path)

    def end(*_arguments: object, **_options: object) -> None:
        raise EOFError("compressed file ended")

    monkeypatch.setattr("segment_tiles.workflows.run.describe.describe_source", end)
    assert info.command is not None
    assert main.run_command_line(["info", str(tmp_path / "a.tif")]) == 1
    assert "EOFError: compressed file ended" in capsys.readouterr().err


@pytest.mark.parametrize("delay", [0.02, 0.06, 0.1, 0.2])
def test_ctrl_c_while_the_program_starts(delay: float, tmp_path: Path) -> None:
    """From the first line of ours on; before it the interpreter itself is starting."""
    code = "import sys; print('up', flush=True); from segment_tiles.cli.start import main; main()"
    started = subprocess.Popen(
        [sys.executable, "-c", code, "info", str(tmp_path / "a.tif")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout is not None
    started.stdout.readline()
    time.sleep(delay)
    os.kill(started.pid, signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert "Traceback" not in errors
    assert started.returncode in {130, 2}
    assert len(errors.splitlines()) == 1


LOSES_CTRL_C = {
    "an object that is freed": """
        class Freed:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0)
        Freed()
    """,
    "a library that catches everything": """
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)
        except BaseException:
            pass
    """,
}


@pytest.mark.parametrize("case", LOSES_CTRL_C)
def test_ctrl_c_is_not_lost_among_imports(case: str, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal, time" + textwrap.dedent(LOSES_CTRL_C[case]))
    code = """if True:
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        from segment_tiles.cli.start import main
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", code, "info", "a.tif"], capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["segment-tiles: error: interrupted before anything began"]


def test_a_job_in_the_background_ignores_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        f"import os, signal, sys; sys.path.remove({str(tmp_path)!r}); del sys.modules['typer'];"
        "os.kill(os.getpid(), signal.SIGINT); import typer; sys.modules['typer'] = typer"
    )
    code = """if True:
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from segment_tiles.cli.start import main
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("segment-tiles ")


def test_an_error_in_a_thread_is_one_line_too(tmp_path: Path) -> None:
    code = (
        "import threading; from segment_tiles.cli.main import tell_of_threads; tell_of_threads(['info']);"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "ZeroDivisionError" in done.stderr


def test_ctrl_c_where_python_can_raise_nothing_still_interrupts(tmp_path: Path) -> None:
    """One that comes while an object is freed is printed by Python and lost; the command would go on."""
    code = """if True:
        import os, signal, time
        from segment_tiles.cli.main import tell_of_threads
        tell_of_threads(["info"])
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        class Freed:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0)
        try:
            Freed()
            print("freed", flush=True)
            time.sleep(600)  # it waits, and is woken
        except KeyboardInterrupt:
            print("interrupted")
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.split() == ["freed", "interrupted"]
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())
