"""After the last tile: seconds of finishing over seconds of computing, and bytes of the source over its size.

    python -m benchmarks.speed.finishing [--sides 8192 16384] [--repeat 1] [--backend torch] [--precision bf16]
        [--model canopy-rgb] [--workers N] [--folder DIR]

Whole runs of the command line with its default outputs. The source is the scene that ships with the program, mirrored
to any side: RGB, deflate in tiles of 256 px, no overviews. It comes from an HTTP server on loopback, which answers
ranges and counts what it sends. "Finish" is everything that the report counts after the last tile: overviews, COG,
polygons, preview. "Processor" is user and system time of the whole command.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from benchmarks.shared.commands import PROGRAM, arguments_of
from benchmarks.shared.rasters import mirrored_scene


@dataclass(frozen=True)
class Figures:
    """Of one run."""

    compute: float
    finish: float
    processor: float
    sent: float
    """Bytes that the server sent, over the size of the file."""


class Counted(BaseHTTPRequestHandler):
    """Ranges of one file, and how much was sent of it."""

    protocol_version = "HTTP/1.1"
    file: ClassVar[Path]
    sent: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        if self.path != f"/{self.file.name}":
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size, span = self.file.stat().st_size, self.headers.get("Range")
        first, _, last = (span or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        self.send_response(200 if span is None else 206)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{size}"')
        if span is not None:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        if with_body:
            with self.file.open("rb") as file:
                file.seek(start)
                self.wfile.write(file.read(stop - start))
            with self.lock:
                Counted.sent += stop - start

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def served(file: Path) -> Iterator[str]:
    """Serve a file; gives its address."""
    Counted.file, Counted.sent = file, 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counted)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{file.name}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(raster: Path, out: Path, options: list[str]) -> Figures:
    """Run the command once."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with served(raster) as address:
        subprocess.run([PROGRAM, "run", address, "--out", str(out), "--quiet", *options], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = json.loads((out / "report.json").read_text())["seconds"]
    shutil.rmtree(out)
    return Figures(
        seconds["segment"],
        seconds["finish"],
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        Counted.sent / raster.stat().st_size,
    )


def main() -> None:
    """Print a line for each side: medians, and the ratios of all runs."""
    parser = arguments_of(__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[8192, 16384])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--model", default="canopy-rgb")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--workers", default=None, help="processes; default: none beside the command")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    options = ["--model", arguments.model, "--backend", arguments.backend, "--precision", arguments.precision]
    options += ["--workers", arguments.workers] if arguments.workers else []
    print("  side  compute s  finish s  finish/compute  processor s  sent/size  (finish/compute of each)")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        for side in arguments.sides:
            raster = mirrored_scene(Path(name) / f"{side}.tif", side)
            runs = [run(raster, Path(name) / "out", options) for _ in range(arguments.repeat)]
            compute, finish, processor, sent = (
                statistics.median(getattr(figures, field) for figures in runs)
                for field in ("compute", "finish", "processor", "sent")
            )
            each = ", ".join(f"{figures.finish / figures.compute:.3f}" for figures in runs)
            print(
                f"{side:>6}{compute:>11.2f}{finish:>10.2f}{finish / compute:>16.3f}{processor:>13.1f}"
                f"{sent:>11.3f}  ({each})",
                flush=True,
            )
            raster.unlink()


if __name__ == "__main__":
    main()
