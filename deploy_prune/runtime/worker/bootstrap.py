"""How a bare Python becomes the worker: the text given to ``python -c``, and the line that it reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

PACKAGE = "deploy_prune.runtime.worker"
# Reads one line from stdin, modules as [[name, source], ...], makes modules of them and runs the last one's ``main``.
# A line cut short by a lost connection ends it without a word. The current folder leaves the import path first: a file
# of the user's that is named like a library must not replace it. An old Python must be able to read the first lines.
BOOTSTRAP = """
import sys
if sys.version_info < (3, 8):
    sys.exit("Python 3.8 or newer is needed, this is " + sys.version.split()[0])
sys.path[:] = [p for p in sys.path if p]
import json, types
line = sys.stdin.buffer.readline()
if line.endswith(b"\\n"):
    for name, source in json.loads(line.decode("utf-8")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].SOURCE = source
        exec(compile(source, "<" + name + ">", "exec"), sys.modules[name].__dict__)
    sys.modules[name].main()
"""


def pack_sources(modules: Sequence[tuple[str, str]]) -> bytes:
    """The line that ``BOOTSTRAP`` reads, from module names within ``PACKAGE`` and their sources."""
    return json.dumps([(f"{PACKAGE}.{name}", source) for name, source in modules]).encode() + b"\n"


def sent_sources(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names and sources of modules that this process has got by ``BOOTSTRAP``, to start another one with."""
    return [(name, vars(sys.modules[f"{PACKAGE}.{name}"])["SOURCE"]) for name in names]
