"""The first line of the `segment-tiles` command: imports nothing, so that Ctrl-C is answered from the start."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is an import too
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        import signal

        # a job in the background ignores Ctrl-C
        is_answered = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_answered:
            # what Python would raise could be lost: in an object that is freed, in a library that catches everything
            signal.signal(signal.SIGINT, lambda _number, _frame: _interrupted())
        run_main = _imported()
        if is_answered:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run_main()  # which answers by itself
    except KeyboardInterrupt:
        _interrupted()


def _imported() -> Callable[[], None]:
    """Return the command line, once all that it needs is imported."""
    try:
        from segment_tiles.cli.imports import importing, own_process
        from segment_tiles.cli.terminal.plugin_warnings import tell_of_plugins

        own_process()
        tell_of_plugins()  # before options, which name what is installed
        with importing():
            from segment_tiles.cli.main import main as run_main
    except Exception as error:
        _refuse(error)
        raise
    return run_main


def _interrupted() -> NoReturn:
    """End at once, while the program is being imported: half-imported modules have nothing to put away."""
    import os

    os.write(2, b"segment-tiles: error: interrupted before anything began\n")
    os._exit(130)  # they would print as they end


def _refuse(error: Exception) -> None:
    """End with one line if what is installed does not fit the files that run."""
    import sys

    from segment_tiles.pipeline.errors import SegmentTilesError, one_line

    if isinstance(error, SegmentTilesError):
        print(f"segment-tiles: error: {one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_status)
