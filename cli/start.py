"""The first line of the `segment-tiles` command: imports nothing, so that Ctrl-C is answered from the start."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of the package."""
    try:
        from segment_tiles.cli.imports import importing, own_process
        from segment_tiles.cli.terminal.plugin_warnings import tell_of_plugins

        own_process()
        tell_of_plugins()  # before options, which name what is installed
        try:
            with importing():
                from segment_tiles.cli.main import main as run_main
        except Exception as error:
            _refuse(error)
            raise
        run_main()
    except KeyboardInterrupt:
        # inside a command this is handled there; here it came while the program was being imported
        import os
        import sys

        print("segment-tiles: error: interrupted before anything began", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # half-imported modules have nothing to put away, and would print as they end


def _refuse(error: Exception) -> None:
    """End with one line if what is installed does not fit the files that run."""
    import sys

    from segment_tiles.pipeline.errors import SegmentTilesError, one_line

    if isinstance(error, SegmentTilesError):
        print(f"segment-tiles: error: {one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_status)
