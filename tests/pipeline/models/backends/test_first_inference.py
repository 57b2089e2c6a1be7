"""The first inference of a process goes alone: two at once can wait for each other for ever in OpenVINO's bindings."""

from __future__ import annotations

import threading

from segment_tiles.pipeline.models.backends.first_inference import FirstInference


def test_nobody_is_beside_the_first_and_all_are_beside_each_other_after() -> None:
    inference = FirstInference()
    is_inside, may_leave, entered = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with inference.alone():
            is_inside.set()
            may_leave.wait(30)

    def second() -> None:
        with inference.alone():
            entered.set()

    threads = [threading.Thread(target=work, daemon=True) for work in (first, second)]
    threads[0].start()
    assert is_inside.wait(30)
    threads[1].start()
    assert not entered.wait(0.3)
    may_leave.set()
    assert entered.wait(30)
    both = threading.Barrier(2, timeout=30)

    def later() -> None:
        with inference.alone():
            both.wait()

    threads = [threading.Thread(target=later, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not both.broken
