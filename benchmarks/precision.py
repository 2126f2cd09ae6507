"""How much faster is FP16 or INT8 than FP32 on this machine, and in which kernels does it really compute?

    python benchmarks/precision.py [--networks yolov8n …]

Each file is compared with the FP32 file of the same engine by turns, in fresh processes (`deploy_prune.runtime`). The
weights are random: they decide the accuracy and not the time. Results go to benchmarks/results/precision.json, one
network after the other (what is there is kept, unless --again), and to the table of docs/precision.md.
"""

import argparse
import datetime
import json
import tempfile
from pathlib import Path

import torch
from markers import ROOT, fill
from rich.console import Console

from deploy_prune.export.float16 import convert_float16
from deploy_prune.export.int8 import ARM, X86, quantise_static
from deploy_prune.export.kernels import read_kernels
from deploy_prune.export.openvino import read_ir_kernels, write_int8_ir, write_ir
from deploy_prune.hardware.machine import detect_machine
from deploy_prune.hardware.profile import load_profile
from deploy_prune.pipeline.named_model import load_model
from deploy_prune.runtime.measure import compare

NETWORKS = {
    "yolov8n": ("yolov8n.yaml", 320),
    "yolo11n": ("yolo11n.yaml", 320),
    "mobilenet_v2": ("torchvision/mobilenet_v2", 224),
    "resnet50": ("torchvision/resnet50", 224),
}
RESULTS = ROOT / "benchmarks" / "results" / "precision.json"


def write_files(source, size, folder):
    """The FP32 file of each engine's profile and its other files by what they are."""
    named = load_model(source, image_size=size, task="detect")
    onnx = named.export(named.module, folder / "fp32.onnx")
    noise = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    of_onnxruntime = {
        "FP16": convert_float16(onnx, folder / "fp16.onnx"),
        "INT8, U8S8": quantise_static(onnx, folder / "u8s8.onnx", noise, scheme=X86),
        "INT8, S8S8": quantise_static(onnx, folder / "s8s8.onnx", noise, scheme=ARM),
    }
    of_openvino = {"INT8 by NNCF": write_int8_ir(onnx, folder / "int8.xml", noise)}
    return {
        "cpu-onnxruntime": (onnx, of_onnxruntime),
        "cpu-openvino": (write_ir(onnx, folder / "fp32.xml"), of_openvino),
    }


def judge(name):
    """Per file its latency, speed-up over FP32 and kernels."""
    found, (source, size) = [], NETWORKS[name]
    with tempfile.TemporaryDirectory() as temporary:
        for profile_name, (dense, files) in write_files(source, size, Path(temporary)).items():
            profile = load_profile(profile_name)
            for kind, file in files.items():
                compared = compare(dense, file, profile)
                kernels = read_kernels(file) if file.suffix == ".onnx" else read_ir_kernels(file)
                found.append({
                    "network": name, "size": size, "engine": profile.engine, "file": kind,
                    "fp32_ms": 1e3 * compared.baseline.median_s, "ms": 1e3 * compared.candidate.median_s,
                    "speedup": compared.speedup, "low": compared.low, "high": compared.high,
                    "verdict": compared.verdict, "integer": sum(kernels.integer.values()),
                    "multiplying": kernels.multiplying, "kernels": str(kernels),
                    "mib": file_size(file) / 2**20, "fp32_mib": file_size(dense) / 2**20,
                    "disturbances": compared.candidate.conditions.contention.reasons,
                })  # fmt: skip
    return found


def file_size(path):
    """Bytes; of IR those of the weights."""
    return (path if path.suffix == ".onnx" else path.with_suffix(".bin")).stat().st_size


def table(content):
    """Everything as Markdown."""
    lines = [
        "| network | engine | file | FP32, ms | this, ms | speed-up | verdict | layers in INT8 | MiB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in content["files"]:
        interval = f"{one['speedup']:.2f}× [{one['low']:.2f}, {one['high']:.2f}]"
        lines.append(
            f"| {one['network']}, {one['size']} px | {one['engine']} | {one['file']} | {one['fp32_ms']:.2f} | "
            f"{one['ms']:.2f} | {interval} | {one['verdict']} | {one['integer']} of {one['multiplying']} | "
            f"{one['fp32_mib']:.1f} → {one['mib']:.1f} |"
        )
    disturbed = sum(bool(one["disturbances"]) for one in content["files"])
    lines += [
        "",
        f"Measured on {content['date']} on {content['machine']}, one thread, {', '.join(content['engines'])}, random "
        f"weights; {disturbed} of {len(content['files'])} comparisons were disturbed by other processes, which met "
        "both files alike.",
    ]
    return "\n".join(lines)


def main():
    """Judge the networks, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--again", action="store_true")
    options, console = parser.parse_args(), Console()
    files = json.loads(RESULTS.read_text())["files"] if RESULTS.exists() else []
    for name in options.networks:
        if options.again or not any(one["network"] == name for one in files):
            files = [one for one in files if one["network"] != name] + judge(name)
        engines = [load_profile(profile) for profile in ("cpu-onnxruntime", "cpu-openvino")]
        content = {
            "machine": detect_machine().processor,
            "engines": [f"{one.engine} {one.engine_facts.version}" for one in engines],
            "date": datetime.date.today().isoformat(),
            "files": files,
        }
        temporary = RESULTS.with_suffix(".new")
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(RESULTS)
        for one in files:
            if one["network"] == name:
                console.print(name, one["file"], f"{one['speedup']:.2f}", one["kernels"], highlight=False)
    fill("docs/precision.md", "precision", "precision.py", table(content))


if __name__ == "__main__":
    main()
