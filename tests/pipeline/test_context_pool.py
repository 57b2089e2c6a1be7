"""Threads that are kept: one at a time for whoever asks, and none in a fork."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from segment_tiles.pipeline.context_pool import kept_thread


def test_a_thread_waits_for_the_next_who_asks() -> None:
    with kept_thread("kept") as first, kept_thread("kept") as second:
        used = {pool.submit(threading.get_ident).result() for pool in (first, second)}
    assert len(used) == 2, "two at a time have a thread each"
    with kept_thread("kept") as again, kept_thread("other") as other:
        assert again.submit(threading.get_ident).result() in used
        assert other.submit(threading.get_ident).result() not in used


def test_what_was_submitted_is_done_at_the_end_whatever_happens() -> None:
    done: list[int] = []

    def work() -> None:
        time.sleep(0.05)
        done.append(threading.get_ident())

    def fails() -> None:
        with kept_thread("failing") as thread:
            thread.submit(work)
            thread.submit(work)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert len(done) == 2
    with kept_thread("failing") as thread:
        assert thread.submit(threading.get_ident).result() == done[0]


FORKS = """
import os
from segment_tiles.pipeline.context_pool import kept_thread

def five():
    with kept_thread("forked") as thread:
        return thread.submit(lambda: 5).result(timeout=20)

assert five() == 5
child = os.fork()
if not child:
    os._exit(five())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_fork_does_not_wait_for_a_thread_that_it_has_not() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], check=False, timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr
