"""The `segment-tiles` command: registers the commands and turns errors into exit statuses."""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import signal
import sys
import threading
import time
from importlib.metadata import version
from typing import Annotated, Any

import typer

from segment_tiles.cli.commands import (
    batch,
    clean,
    demo,
    doctor,
    export,
    info,
    model,
    plan,
    polygonize,
    run,
    schedule,
    tune,
)
from segment_tiles.cli.commands.training import evaluate, learning_rate, train
from segment_tiles.cli.terminal.plugin_warnings import show_plugin_warnings
from segment_tiles.pipeline.errors import SegmentTilesError, UsageError, one_line
from segment_tiles.pipeline.library_messages import clean_log_records, silence_libraries
from segment_tiles.pipeline.process_limits import require_limits
from segment_tiles.pipeline.unforeseen import EXIT_STATUS as UNFORESEEN
from segment_tiles.pipeline.unforeseen import describe_unforeseen

INTERRUPTED = 130
"""Exit status after Ctrl-C; the run can be resumed."""

UsageProblem: type[Exception] = typer.BadParameter.__mro__[1]
"""The usage error of click, whose own copy typer may carry: reached through what typer exports."""

app = typer.Typer(
    name="segment-tiles",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Segment rasters of any size, satellite scenes, pathology slides and volumes, with DeepLabv3+.",
    epilog="Exit status: 0 done; 1 something failed; 2 bad usage or input; 130 interrupted, resumable.",
)
for command in (
    demo,
    run,
    plan,
    tune,
    batch,
    schedule,
    export,
    polygonize,
    train,
    learning_rate,
    evaluate,
    info,
    clean,
    doctor,
):
    app.command(command.__name__.rpartition(".")[2].replace("_", "-"))(command.command)
app.add_typer(model.app, name="model")


def _print_version(*, value: bool) -> None:
    if value:
        print(f"segment-tiles {version('segment-tiles')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; the entry point of the package."""
    prepare_process(sys.argv[1:])
    sys.exit(run_command_line(sys.argv[1:]))


def prepare_process(arguments: list[str]) -> None:
    """Set what a command sets for its whole process: what it prints, how memory is given back, how threads wait."""
    clean_log_records()
    # Arrow's own pool keeps what was freed, beside the network's libraries; the C library gives it back. Read when
    # Arrow is loaded; a user's choice stands.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    let_threads_rest()
    tell_of_threads(arguments)
    silence_libraries()  # after it: what is never said is not told either
    show_plugin_warnings()


def let_threads_rest() -> None:
    """Let threads of torch spin for microseconds after an operator, not milliseconds; a user's choice stands.

    They wait for the next operator, which comes in microseconds if at all, on the cores that read, write, and serve
    others: as long as libgomp lets them if it knows that cores are few. Read when torch is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def tell_of_threads(arguments: list[str]) -> None:
    """From now on, an error that ends a thread, or that Python can raise nowhere, is one line on stderr too.

    A Ctrl-C that comes while Python frees an object is such an error. It is given to the command once more.
    """

    def say(kind: type[BaseException], error: BaseException | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            _interrupt_soon()
        elif not issubclass(kind, SystemExit):
            text = describe_unforeseen(error or kind(), arguments)
            print(f"segment-tiles: warning: {text}", file=sys.stderr)

    threading.excepthook = lambda found: say(found.exc_type, found.exc_value)
    sys.unraisablehook = lambda found: say(found.exc_type, found.exc_value)


def _interrupt_soon() -> None:
    """Interrupt the main thread in a moment; from another thread, since here it would be lost again."""

    def interrupt() -> None:
        time.sleep(0.05)
        if hasattr(
            signal, "pthread_kill"
        ):  # a signal wakes a thread that waits; what Python notes by itself does not
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()

    # at the end of the program no thread starts any more, and there is nothing left to interrupt
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=interrupt, name="interrupt", daemon=True).start()


def run_command_line(arguments: list[str]) -> int:
    """Run one command and return its exit status; errors become one line on stderr."""
    try:
        _check_arguments(arguments)
        require_limits()
        status = _run(arguments)
    except UsageProblem as error:
        return _fail_usage(error, arguments)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost function: no user sees a traceback
        # typer takes an EOFError for Ctrl-D at a prompt; here nothing prompts, so a file ended too early
        if not isinstance(error, typer.Abort) or isinstance(error.__cause__, EOFError):
            return _fail(*_told(error.__cause__ if isinstance(error, typer.Abort) else error, arguments))
        status = INTERRUPTED
    if status == INTERRUPTED:  # typer turns Ctrl-C into this status itself
        return _fail("interrupted; the same command goes on where this one stopped", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _run(arguments: list[str]) -> Any:
    # not `app(...)`, which puts a hook of its own in place of what this process says of errors
    return typer.main.get_command(app)(arguments, standalone_mode=False)


def _told(error: BaseException | None, arguments: list[str]) -> tuple[str, int]:
    """Return the line for an error, and the exit status."""
    if isinstance(error, SegmentTilesError):
        return one_line(error), error.exit_status
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{str(error.filename)[:60]}...: no file can have so long a name; give a shorter one", 2
    return describe_unforeseen(error or RuntimeError(), arguments), UNFORESEEN


def _check_arguments(arguments: list[str]) -> None:
    """Refuse what is no UTF-8, which no library can open, and no report can hold."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            msg = f"{ascii(argument)[1:-1][:60]} is no UTF-8; rename the file, or set a locale with UTF-8"
            raise UsageError(msg) from error


def _fail(text: str, status: int) -> int:
    print(f"segment-tiles: error: {text}", file=sys.stderr)
    return status


def _fail_usage(error: Any, arguments: list[str]) -> int:
    """Say in one line what is wrong with the arguments; without any, show the help."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if "\n" in message and context is not None and message.startswith(context.get_help()[:20]):
        print(message, file=sys.stderr)
        return 2
    text = one_line(Exception(message)).rstrip(".")
    value = _given_value(error, arguments)
    if value is not None and value not in text:
        text = f"{text} (given: {value!r})"
    return _fail(f"{text}; see `{context.command_path} --help`" if context is not None else text, 2)


def _given_value(error: Any, arguments: list[str]) -> str | None:
    """Return what followed the option that an error is about: the parser's messages leave it out."""
    names = getattr(getattr(error, "param", None), "opts", [])
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in names:
            following = arguments[index + 1 : index + 2]
            return value if equals else (following[0] if following else None)
    return None
