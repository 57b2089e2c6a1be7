"""The program starts where POSIX is not: no module of ours needs what Windows does not have."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import segment_tiles.cli
import segment_tiles.pipeline
import segment_tiles.workflows
from segment_tiles.workflows import process_memory

POSIX_MODULES = {"fcntl", "grp", "pwd", "pty", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        "chown", "fork", "forkpty", "geteuid", "getgid", "getpgid", "getuid", "killpg", "lockf", "major", "mkfifo",
        "nice", "posix_fadvise", "posix_fallocate", "pread", "pwrite", "sched_getaffinity", "sched_setaffinity",
        "setsid", "statvfs", "sync", "sysconf", "uname", "wait3",
    },
    "signal": {
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2",
        "alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait",
    },
}  # fmt: skip
FOLDERS = [
    Path(str(m.__file__)).parent for m in (segment_tiles.pipeline, segment_tiles.workflows, segment_tiles.cli)
]
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))


def module_name(path: Path) -> str:
    folder = next(folder for folder in FOLDERS if folder in path.parents)
    parts = ("segment_tiles", folder.name, *path.relative_to(folder).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_module_loads_without_what_windows_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module is run anew, apart from the one that is loaded, while these modules are hidden from it."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> ModuleType:
        asking = (rest[0] if rest else named.get("globals")) or {}
        if name in POSIX_MODULES and str(asking.get("__name__", "")).startswith("segment_tiles."):
            raise ModuleNotFoundError(name, name=name)
        return real(name, *rest, **named)

    assert len(FILES) > 200
    for path in FILES:
        name = module_name(path)
        text = path.read_text(encoding="utf-8")
        if not any(word in text for word in POSIX_MODULES):
            continue  # it cannot name them
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "__import__", without)
            patch.setitem(sys.modules, name, module := importlib.util.module_from_spec(spec))
            spec.loader.exec_module(module)


def test_names_that_windows_has_not_are_asked_for_first() -> None:
    """`os.fork` and the like stand in a function that asks `hasattr(os, "fork")`."""
    found = [line for path in FILES for line in names_not_asked_for(path)]
    assert not found, "\n".join(found)


def names_not_asked_for(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.attr not in POSIX_NAMES.get(node.value.id, ()):
            continue
        around = [ast.unparse(f) for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
        if not any(f"hasattr({node.value.id}, '{node.attr}')" in text for text in around):
            found.append(f"{path}:{node.lineno}: {node.value.id}.{node.attr}")
    return found


def test_memory_is_counted_without_the_module_resource(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(process_memory, "STATUS", tmp_path / "no-proc")
    assert process_memory.peak_since_reset() >= process_memory.resident_bytes() // 2


def test_a_c_library_that_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows answers `CDLL(None)` with a TypeError."""

    def refuse(name: object) -> None:
        raise TypeError(name)

    monkeypatch.setattr(process_memory.ctypes, "CDLL", refuse)
    assert process_memory.release_freed_memory() is False
    assert process_memory.keep_freed_memory() is False
    assert process_memory.share_arenas() is False
