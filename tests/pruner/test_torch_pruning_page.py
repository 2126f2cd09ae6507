"""docs/torch-pruning.md lists every public name of Torch-Pruning, and tells the truth about ours."""

import dataclasses
import inspect
import re
import types
from pathlib import Path

import pytest

import deploy_prune as ours
from deploy_prune.pruner.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "torch-pruning.md"
NAMESPACES = ("", "pruner", "function", "importance", "utils")
STATUSES = {"same", "accepted", "differs", "not here"}


def statuses():
    """Name -> status, from the tables of the page."""
    found = {}
    for names, status in re.findall(r"^\| (`.+?) \| ([a-z ]+) \|", PAGE.read_text(), re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", names):
            assert name not in found, f"{name} is on the page twice"
            found[name] = status
    return found


def namespace(package, name):
    return getattr(package, name) if name else package


def public(module):
    """The names that a Torch-Pruning module defines or passes on, other packages' left aside."""
    for name in dir(module):
        value = getattr(module, name)
        home = getattr(value, "__name__" if isinstance(value, types.ModuleType) else "__module__", "") or ""
        constant = name.isupper() and name != "ABC"
        if not name.startswith("_") and (home.startswith("torch_pruning") or constant or name in {"save", "load"}):
            yield name


def members(theirs):
    """``Class.method`` and ``Class(argument)`` of everything that users construct and call."""
    graph, func = theirs.DependencyGraph, theirs.BasePruningFunc
    print_tool, benchmark = theirs.utils.print_tool, theirs.utils.benchmark
    for kind in (graph, theirs.Group, theirs.Dependency, theirs.Node, theirs.BasePruner, func, print_tool):
        yield from (f"{kind.__name__}.{name}" for name in vars(kind) if not name.startswith("_"))
    for name in inspect.signature(graph().build_dependency).parameters:
        yield f"DependencyGraph.build_dependency({name})"
    own = set(inspect.signature(theirs.BasePruner).parameters)
    yield from (f"BasePruner({name})" for name in own)
    for kind in (theirs.BNScalePruner, theirs.GroupNormPruner, theirs.GrowingRegPruner):
        yield from (f"{kind.__name__}({name})" for name in inspect.signature(kind).parameters if name not in own)
        yield from (
            f"{kind.__name__}.{name}"
            for name in vars(kind)
            if not name.startswith("_") and name not in vars(theirs.BasePruner)
        )
    shared = {"p", "group_reduction", "normalizer", "bias", "target_types"}
    for name, kind in vars(theirs.importance).items():
        if isinstance(kind, type) and issubclass(kind, theirs.importance.Importance):
            arguments = inspect.signature(kind.__init__).parameters.keys() - {"self", "args", "kwargs"}
            first = "GroupMagnitudeImportance" if name != "GroupMagnitudeImportance" else name
            base = {"TaylorImportance": "GroupTaylorImportance"}.get(name, name)
            yield from (f"{first if argument in shared else base}({argument})" for argument in arguments)
            yield from (f"{name}.{member}" for member in vars(kind) if not member.startswith("_"))
    yield from (name for name in vars(benchmark) if name.startswith("measure_"))


def test_every_name_is_on_the_page():
    theirs = pytest.importorskip("torch_pruning")
    listed = statuses()
    assert set(listed.values()) <= STATUSES
    names = {name for space in NAMESPACES for name in public(namespace(theirs, space))} | set(members(theirs))
    assert len(names) > 150
    assert names - listed.keys() == set()


def exists(name):
    """Whether a name of the page is there in our package."""
    kind, dot, member = re.sub(r"\(.*", "", name).partition(".")
    found = next((getattr(namespace(ours, s), kind) for s in NAMESPACES if hasattr(namespace(ours, s), kind)), None)
    if found is None or (dot and not hasattr(found, member) and member not in _fields(found)):
        return False
    argument = re.search(r"\((\w+)\)", name)
    if argument is None:
        return True
    parameters = inspect.signature(getattr(found, member) if dot else found).parameters
    known = {f.name for f in dataclasses.fields(Settings)} if "settings" in parameters else set()
    return argument[1] in {*parameters, *known}


def _fields(kind):
    return {f.name for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()


def test_what_the_page_claims_exists():
    for name, status in statuses().items():
        assert exists(name) == (status != "not here"), (name, status)


def test_names_are_where_they_were():
    theirs, listed = pytest.importorskip("torch_pruning"), statuses()
    passed_on = {("importance", "Group"), ("importance", "function"), ("utils", "utils")}  # imports of its own
    lacking = {
        (space, name)
        for space in NAMESPACES
        for name in public(namespace(theirs, space))
        if listed.get(name) != "not here" and not hasattr(namespace(ours, space), name)
    }
    assert lacking - passed_on == {("", "dependency")}  # the page says where it is


def test_a_name_that_is_not_here_is_seen():
    assert not exists("DependencyGraph.fly")
    assert not exists("BasePruner(speed)")
    assert not exists("NoSuchThing")
