"""What the README says to type exists."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import deploy_prune
from deploy_prune.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(program):
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize("arguments", commands("deploy-prune"), ids=" ".join)
def test_every_command_is_understood(arguments):
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and arguments:
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(name, arguments)  # raises for an unknown option or a missing argument


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for arguments in commands("make") for target in arguments}
    assert targets == {"demo", "bench", "test", "check", "zoo"}
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_every_recipe_that_is_named_exists():
    for name in re.findall(r"pipelines/\w+\.yaml", README):
        assert (ROOT / name).exists(), name


def dotted(node):
    """``tp.pruner.MagnitudePruner`` -> ["tp", "pruner", "MagnitudePruner"]; None for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (inner := dotted(node.value)):
        return [*inner, node.attr]
    return None


@pytest.mark.parametrize("code", blocks("python"))
def test_every_public_name_in_a_snippet_exists(code):
    names = [dotted(node) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    for path in [path for path in names if path and path[0] in ("tp", "deploy_prune")]:
        found = deploy_prune
        for part in path[1:]:
            found = getattr(found, part)


def test_the_torch_pruning_snippet_runs_and_prunes():
    code = blocks("python")[0].replace("224, 224", "64, 64") + "\nprint(macs, params)"
    macs, params = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(params) < 4_000_000  # resnet18 has 11.7 million; half of the channels is about a quarter
    assert int(macs) < 60_000_000


def test_the_trainer_that_keeps_a_pruned_network_is_where_the_readme_says():
    from deploy_prune.tasks.ultralytics import pruned_trainer

    assert issubclass(pruned_trainer("detect"), object)
