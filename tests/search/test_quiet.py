"""C's ``printf`` is silent inside the block, and nowhere else; Python's output is not touched."""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes
from deploy_prune.search.quiet import quiet_c_output
library = ctypes.CDLL(None)
library.puts(b"before")
with quiet_c_output():
    library.printf(b"inside, unseen\\n")
    with quiet_c_output():
        library.puts(b"deeper, unseen")
    library.puts(b"inside again, unseen")
    print("python inside", flush=True)
library.printf(b"after\\n")
library.fflush(None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library's stream is known by name on Linux")
def test_only_what_c_prints_inside_is_lost():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["after", "before", "python inside"]


def test_the_stream_is_put_back_after_an_error():
    from deploy_prune.search import quiet

    stream = quiet._stream()
    before = stream.value if stream else None
    with pytest.raises(ZeroDivisionError), quiet.quiet_c_output():
        _ = 1 / 0
    assert stream is None or stream.value == before
