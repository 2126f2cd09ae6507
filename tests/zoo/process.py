"""One model in a process of its own, with limits on time and memory; a crash becomes a line in its outcome."""

import dataclasses
import multiprocessing
import os
import resource
import time
import warnings
from pathlib import Path

import torch
from zoo.outcome import FAILED, Outcome, one_line
from zoo.registry import FAMILIES, find

MEMORY_BYTES = 20 * 2**30

LIBRARIES = ["torch", "scipy.optimize", "scipy.sparse.csgraph", "deploy_prune.pruner"]
"""Imported once, by the server from which the processes are forked."""


def context_for(families, tool):
    """Processes that start with what these families and the tool import already there."""
    context = multiprocessing.get_context("forkserver")
    peer = [] if tool == "ours" else ["torch_pruning"]
    context.set_forkserver_preload([*LIBRARIES, *peer, *sorted({FAMILIES[family] for family in families})])
    return context


@dataclasses.dataclass(frozen=True)
class Task:
    """What to do with each model.

    Attributes:
        tool: ``ours`` or ``torch-pruning``.
        ratio: share of every group that goes.
        heads: whether whole attention heads go too.
        mistakes: how many wrong plans the oracle must refuse.
        limit_s: seconds per model.
    """

    tool: str = "ours"
    ratio: float = 0.3
    heads: bool = False
    mistakes: int = 0
    limit_s: float = 120.0


def judge_apart(context, family, name, task):
    """Judge one model in a new process."""
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(send, family, name, task), daemon=True)
    started = time.perf_counter()
    process.start()
    send.close()
    outcome = Outcome(family, name, task.tool)
    try:
        if receive.poll(task.limit_s):
            outcome = receive.recv()
        else:
            outcome.fail("time", f"not done within {task.limit_s:.0f} s")
    except EOFError:
        process.join(5)
        outcome.fail("crash", f"the process ended with code {process.exitcode}")
    finally:
        process.kill()
        process.join()
    outcome.wall_s = time.perf_counter() - started
    return outcome


def child(send, family, name, task):
    """Runs in the new process: build the model, judge it, send the outcome."""
    warnings.filterwarnings("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    outcome = judge(family, name, task)
    outcome.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    send.send(outcome)


def judge(family, name, task):
    """Build and judge one model in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    outcome = Outcome(family, name, task.tool, stage="load")
    try:
        case = find(family, name).build()
        outcome.stage = "build"
        if task.tool == "ours":
            from zoo.judge import judge_ours

            judge_ours(outcome, case, task.ratio, task.heads, task.mistakes)
        else:
            from zoo.peer import judge_peer

            judge_peer(outcome, case, task.ratio)
    except Exception as error:
        outcome.status, outcome.error = FAILED, one_line(error)
    return outcome
