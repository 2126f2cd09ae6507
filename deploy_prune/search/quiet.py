"""Keeps what C libraries print out of the program's output.

HiGHS prints ``HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();`` now and then with C's
``printf``, whatever its options say (seen with the one in scipy 1.17). Such lines go through the C library's variable
``stdout``. While that names the null device, Python's ``sys.stdout`` and file descriptor 1, which progress bars of
other threads write to, stay as they are.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_STREAMS = ("stdout", "__stdoutp")  # Linux (glibc); macOS


@contextmanager
def quiet_c_output() -> Iterator[None]:
    """C's ``printf`` goes nowhere for the time of the block; nothing happens where the stream has no known name."""
    stream, nowhere = _stream(), _nowhere()
    if stream is None or nowhere is None or stream.value == nowhere:
        yield
        return
    before = stream.value
    stream.value = nowhere
    try:
        yield
    finally:
        stream.value = before


@cache
def _library() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if os.name == "posix" else None


@cache
def _stream() -> ctypes.c_void_p | None:
    """The variable ``stdout`` of the C library."""
    library = _library()
    found = (_variable(library, name) for name in _STREAMS) if library else ()
    return next((variable for variable in found if variable is not None), None)


def _variable(library: ctypes.CDLL, name: str) -> ctypes.c_void_p | None:
    try:
        return ctypes.c_void_p.in_dll(library, name)
    except ValueError:
        return None


@cache
def _nowhere() -> int | None:
    """A stream to the null device, open for as long as the program runs."""
    library = _library()
    if library is None:
        return None
    library.fopen.restype, library.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
    found: int | None = library.fopen(os.devnull.encode(), b"w")
    return found
