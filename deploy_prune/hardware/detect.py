"""Write a profile for the machine at hand."""

from __future__ import annotations

from deploy_prune.hardware.engines import ENGINES
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.power import read_power

NAME = "this-machine"
# In this order a detected profile takes the first engine that is installed: those with a profile of layers first.
_PREFERENCE = ("onnxruntime", "openvino", "torch")
_TEMPLATE = """\
# Written by `deploy-prune profiles detect`.
#
# processor         {processor}
# instruction sets  {flags}
# cores             {cores}, usable by this process: {usable}
# memory            {memory}
# system            {system}
# clocks            {clocks}
# engines           {engines}
#
# All usable cores; change threads and engine at will, `deploy-prune profiles --file FILE` says whether it can run.
name: {name}
engine: {engine}
{mode}device: cpu
threads: {usable}
precision: fp32
batch: 1
architecture: {architecture}
{power}"""


def detect_profile() -> str:
    """The YAML of a profile that fits this machine: its usable cores, the best engine installed, its governor.

    What was found is written as comments, for the person who reads the file or hands it on.
    """
    machine, power = detect_machine(), read_power()
    versions = {name: facts.version for name, facts in ENGINES.items() if facts.installed}
    engine = next((name for name in _PREFERENCE if name in versions), _PREFERENCE[0])
    span = (machine.min_frequency_hz, machine.max_frequency_hz)
    clocks = (
        "not told by the kernel" if None in span else "{:.2f} to {:.2f} GHz".format(*(hz / 1e9 for hz in span if hz))
    )
    return _TEMPLATE.format(
        processor=machine.processor,
        flags=" ".join(machine.flags) or "none that engines ask for",
        cores=machine.cores,
        usable=machine.usable_cores,
        memory="unknown" if machine.memory_bytes is None else f"{machine.memory_bytes / 2**30:.1f} GiB",
        system=machine.os,
        clocks=clocks,
        engines=", ".join(f"{name} {version}" for name, version in versions.items()) or "none installed",
        name=NAME,
        engine=engine,
        mode="mode: eager\n" if engine == "torch" else "",
        architecture=machine.architecture,
        power=f"\npower:\n  governor: {power.governor}\n" if power.governor else "",
    )
