"""Imports go one way, heavy packages have one home, and the core does no input or output.

Every gate is a function of a source tree, and is shown a small tree on which it must fail.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deploy_prune"

# part -> the parts that it may import besides itself. Core first, then edges, then where they meet.
ALLOWED = {
    "errors": set(),
    "graph": {"errors"},
    "importance": {"errors", "graph"},
    "pruner": {"errors", "graph", "importance"},
    "recovery": {"errors", "graph", "importance", "pruner"},
    "latency": {"errors"},
    "search": {"errors", "graph", "importance", "pruner", "latency", "count"},
    "count": {"errors", "graph"},
    "utils": {"errors", "count"},
    "mistakes": set(),
    "hardware": {"errors", "mistakes"},
    "runtime": {"errors", "hardware"},
    "export": {"errors"},
    "datasets": {"errors"},
    "tasks": {"errors", "export", "datasets", "artifact"},
    "report": {"errors"},
    "store": {"errors"},
    "artifact": {"errors", "mistakes"},
}
CORE = {"errors", "graph", "importance", "pruner", "recovery", "latency", "search", "count"}  # utils may print
EVERYTHING = {*ALLOWED, "pipeline", ""}
ALLOWED |= {"pipeline": EVERYTHING, "cli": EVERYTHING, "__main__": {"cli"}, "": EVERYTHING}

# heavy package -> the files that may import it
HOMES = {
    "ultralytics": {"tasks/ultralytics_api.py"},
    "onnxruntime": {  # measuring; running an export; quantising
        "runtime/worker/onnxruntime_engine.py",
        "export/session.py",
        "export/int8.py",
        "export/float16.py",
        "artifact/inference/engine.py",
    },
    "torchmetrics": {"tasks/dense_metrics.py"},
    "faster_coco_eval": {"datasets/coco.py"},
    "openvino": {"runtime/worker/openvino_engine.py", "export/openvino.py", "artifact/inference/engine.py"},
    "nncf": {"export/openvino.py"},
    "ncnn": {"export/ncnn.py"},
    "pnnx": {"export/ncnn.py"},
    "tensorrt": {"runtime/worker/tensorrt_engine.py"},
    "onnx": {"export/onnx.py", "export/nms.py", "runtime/node_names.py", "tasks/ultralytics.py"},
    "onnxslim": {"export/onnx.py"},
    "sklearn": {"datasets/sources.py"},
    "skimage": {"datasets/sources.py", "datasets/polygon.py"},
    "lightning_fabric": {"tasks/fit.py"},
    "matplotlib": {"report/plots.py", "report/front_plots.py"},  # the second for types alone
    "ray": {"pipeline/fleet_ray.py"},
    "typer": {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "cli").glob("*.py")},
}
OPTIONAL = (
    *("ultralytics", "onnx", "onnxruntime", "onnxslim", "sklearn", "skimage", "PIL", "matplotlib"),
    *("torchvision", "timm", "cv2", "openvino", "tensorrt", "lightning_fabric", "tensorboard"),
    *("torchmetrics", "faster_coco_eval", "nncf", "ncnn", "pnnx", "ray"),
)

IMPURE_MODULES = {
    "time",
    "subprocess",
    "socket",
    "multiprocessing",
    "threading",
    "tempfile",
    "sqlite3",
    "urllib",
}
IMPURE_CALLS = {"open", "read_text", "write_text", "read_bytes", "write_bytes", "mkdir", "system", "print"}
KEEPS_PLANS = {"pruner/plan.py", "pruner/saved.py"}  # a plan and a pruned model save to and load from files


def sources(root):
    for path in sorted(root.rglob("*.py")):
        yield path.relative_to(root), ast.parse(path.read_text())


def imported(tree):
    """Every imported module, also those in functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are banned"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module):
    """``deploy_prune.graph.trace`` -> ``graph``; the package itself -> ``""``."""
    return module.removeprefix("deploy_prune").lstrip(".").partition(".")[0]


def own_parts(root, path, tree):
    """The parts of the package that a file imports, names of the package itself left aside."""
    names = {name for name in imported(tree) if name.partition(".")[0] == "deploy_prune"}
    for name in names:
        part = part_of(name)
        if not part or (root / part).is_dir() or (root / f"{part}.py").exists():
            yield part


def wrong_imports(root):
    found = set()
    for path, tree in sources(root):
        part = part_of(f"deploy_prune.{path.with_suffix('').as_posix().replace('/', '.')}")
        part = "" if part == "__init__" else part
        for other in own_parts(root, path, tree):
            if other != part and other not in ALLOWED.get(part, set()):
                found.add(f"{path} imports {other or 'the package'}")
    return sorted(found)


def import_rings(root):
    """Files that import each other, through others too."""
    edges = {}
    for path, tree in sources(root):
        name = "deploy_prune." + path.with_suffix("").as_posix().replace("/", ".")
        edges[name.removesuffix(".__init__")] = set(imported(tree))
    reach = {name: targets & edges.keys() - {name} for name, targets in edges.items()}
    for _ in edges:
        for name in reach:
            reach[name] = reach[name].union(*(reach[other] for other in reach[name]))
    return sorted(name for name in reach if name in reach[name] and name != "deploy_prune")


def strangers(root):
    """Files that import a heavy package outside its home."""
    return [
        f"{path} imports {package}"
        for path, tree in sources(root)
        for package in sorted({name.partition(".")[0] for name in imported(tree)} & HOMES.keys())
        if path.as_posix() not in HOMES[package]
    ]


def impurities(root):
    """What core files do besides computing."""
    found = []
    for path, tree in sources(root):
        if part_of(f"deploy_prune.{path.with_suffix('').as_posix().replace('/', '.')}") not in CORE:
            continue
        modules = {name.partition(".")[0] for name in imported(tree)} & IMPURE_MODULES
        calls = {
            node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        }
        if path.as_posix() not in KEEPS_PLANS:
            modules |= calls & IMPURE_CALLS
        found += [f"{path}: {what}" for what in sorted(modules)]
    return found


def run_python(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_imports_go_one_way():
    assert wrong_imports(PACKAGE) == []


def test_no_file_imports_itself_through_others():
    assert import_rings(PACKAGE) == []


def test_heavy_packages_have_one_home():
    assert strangers(PACKAGE) == []


def test_the_core_only_computes():
    assert impurities(PACKAGE) == []


def test_every_part_of_the_package_is_in_the_table():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} <= ALLOWED.keys()


BLOCK = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if blocked(name.partition('.')[0]):
            raise ModuleNotFoundError(f'{name} is blocked', name=name)
sys.meta_path.insert(0, Block())
"""


def test_the_package_imports_with_torch_alone():
    """Blocked is whatever torch itself has not imported, except the standard library and numpy."""
    script = (
        "import torch, numpy, sys\n"
        "own = {name.partition('.')[0] for name in sys.modules} | set(sys.stdlib_module_names)\n"
        "own.add('deploy_prune')\n"
        f"blocked = lambda name: name not in own\n{BLOCK}\n"
        "import deploy_prune\n"
        "try:\n    import pydantic\n    print('not blocked')\nexcept ModuleNotFoundError: print('fine')\n"
    )
    done = run_python(script)
    assert done.stdout == "fine\n", done.stderr


def test_every_module_imports_without_optional_packages():
    script = (
        f"blocked = lambda name: name in {OPTIONAL!r}\n{BLOCK}\n"
        "import pkgutil, importlib, deploy_prune\n"
        "skipped = {'deploy_prune.__main__'}\n"
        "for found in pkgutil.walk_packages(deploy_prune.__path__, 'deploy_prune.'):\n"
        "    if found.name not in skipped: importlib.import_module(found.name)\n"
        "print('fine')\n"
    )
    done = run_python(script)
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize("command", ["run", "prune", "sweep"])
def test_the_command_line_does_not_import_torch_to_answer_help(command):
    script = (
        "import sys, deploy_prune.cli\n"
        f"sys.argv = ['deploy-prune', '{command}', '--help']\n"
        "try: deploy_prune.cli.main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert run_python(script).stdout.splitlines()[-1] == "0 False False"


def worker_imports(root):
    """What the worker's modules import besides the standard library and each other; they parse as Python 3.8."""
    found = set()
    for path in sorted(root.glob("*.py")):
        tree = ast.parse(path.read_text(), feature_version=(3, 8))
        packages = {name for name in imported(tree) if not name.startswith("deploy_prune.runtime.worker.")}
        found |= {name.partition(".")[0] for name in packages}
    return found - sys.stdlib_module_names


def test_the_worker_is_python_3_8_and_needs_the_standard_library_and_an_engine_only():
    assert worker_imports(PACKAGE / "runtime" / "worker") == {"onnxruntime", "openvino", "torch", "tensorrt", "numpy"}


# Each gate has been seen red: the same functions on trees that break the rule.


@pytest.fixture
def tree(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"graph__trace": "from deploy_prune.search.solver import solve", "search__solver": ""},
         "graph/trace.py imports search"),
        ({"search__solver": "def f():\n    import deploy_prune.runtime.measure", "runtime__measure": ""},
         "search/solver.py imports runtime"),
        ({"report__page": "from deploy_prune.runtime import timing", "runtime__timing": ""},
         "report/page.py imports runtime"),
        ({"tasks__task": "import deploy_prune.pipeline.run", "pipeline__run": ""},
         "tasks/task.py imports pipeline"),
        ({"runtime__measure": "from deploy_prune import cli", "cli": ""}, "runtime/measure.py imports cli"),
    ],
)  # fmt: skip
def test_a_wrong_import_is_seen(tree, files, message):
    assert message in wrong_imports(tree(**files))


def test_an_unknown_part_is_seen(tree):
    assert wrong_imports(tree(other__a="import deploy_prune.graph.b", graph__b="")) == ["other/a.py imports graph"]


def test_a_ring_is_seen(tree):
    files = {
        "graph__a": "import deploy_prune.graph.b",
        "graph__b": "def f():\n    from deploy_prune.graph import c",
        "graph__c": "from deploy_prune.graph.a import x",
    }
    assert import_rings(tree(**files)) == [
        "deploy_prune.graph.a",
        "deploy_prune.graph.b",
        "deploy_prune.graph.c",
    ]


def test_a_heavy_package_outside_its_home_is_seen(tree):
    assert strangers(tree(report__page="def f():\n    import onnxruntime as ort")) == [
        "report/page.py imports onnxruntime"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import time", "search/x.py: time"),
        ("def f(path):\n    return path.read_text()", "search/x.py: read_text"),
        ("def f():\n    from subprocess import run", "search/x.py: subprocess"),
        ("x = open('y')", "search/x.py: open"),
    ],
)
def test_an_impure_core_is_seen(tree, text, message):
    assert impurities(tree(search__x=text)) == [message]


def test_python_newer_than_3_8_in_the_worker_is_seen(tree):
    with pytest.raises(SyntaxError):
        worker_imports(tree(process="match x:\n    case 1: pass"))


def test_a_worker_that_needs_the_package_is_seen(tree):
    assert worker_imports(tree(process="from deploy_prune.errors import InputError")) == {"deploy_prune"}
