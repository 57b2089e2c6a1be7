"""Damage to the bytes of a file, as a bad disk, a broken download or a wrong program makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

Mutation = Callable[[bytearray, Random], bytearray]

INTERESTING = (
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f",
    b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"-1", b"1e999", b"NaN", b"\n", b"\xc3\x28",
)  # fmt: skip
"""Edges of integers and floats in both orders, numbers as text, and bytes that are no UTF-8."""


def flip_bits(data: bytearray, rng: Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 3, 20))):
        data[_position(data, rng)] ^= 1 << rng.randrange(8)
    return data


def set_interesting(data: bytearray, rng: Random) -> bytearray:
    value = rng.choice(INTERESTING)
    start = _position(data, rng)
    data[start : start + len(value)] = value
    return data


def cut(data: bytearray, rng: Random) -> bytearray:
    return data[: rng.choice((0, 1, len(data) // 2, len(data) - 1, rng.randrange(len(data))))]


def zero_range(data: bytearray, rng: Random) -> bytearray:
    start = _position(data, rng)
    stop = min(len(data), start + rng.choice((4, 64, 4096)))
    data[start:stop] = bytes(stop - start)
    return data


def delete_range(data: bytearray, rng: Random) -> bytearray:
    start = _position(data, rng)
    del data[start : start + rng.choice((1, 7, 300))]
    return data


def repeat_range(data: bytearray, rng: Random) -> bytearray:
    start = _position(data, rng)
    piece = data[start : start + rng.choice((1, 16, 500))]
    return data[:start] + piece + data[start:]


def append(data: bytearray, rng: Random) -> bytearray:
    return data + rng.randbytes(rng.choice((1, 100, 5000)))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits, set_interesting, cut, zero_range, delete_range, repeat_range, append,
)  # fmt: skip


def mutate_file(path: Path, rng: Random) -> str:
    """Damage a file in one of these ways and return what was done."""
    data = bytearray(path.read_bytes()) or bytearray(b"\0")
    chosen = rng.choice(MUTATIONS)
    path.write_bytes(chosen(data, rng))
    return f"{path.name}: {chosen.__name__}"


def _position(data: bytearray, rng: Random) -> int:
    """Return a position, more often in the first kilobyte, which holds most headers."""
    return rng.randrange(min(len(data), 1024)) if rng.random() < 0.6 else rng.randrange(len(data))
