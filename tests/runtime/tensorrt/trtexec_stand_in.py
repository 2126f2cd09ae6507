"""A stand-in for NVIDIA's trtexec. It is not TensorRT: it builds nothing, runs nothing and knows no GPU.

It takes the real command line and refuses, version by version, what the real one refuses (trtexec_options.txt). It
writes the real files, in the formats of samples/common/sampleReporting.cpp and of the documentation of the engine
inspector. Times are arithmetic on the sizes of the layers, so that tests can work them out by hand:

    a layer takes 2 µs, and 1 µs per 1000 elements written; without a CUDA graph 3 µs more
    a run takes the sum of its layers, and the k-th run of a process k % 5 µs more

A Conv or Gemm takes what follows it alone, Add or Relu, into its layer. Set by the environment, for the tests:

    STAND_IN_VERSION    such as 10.3.0
    STAND_IN_CALLS      a file that gets a line for every call
    STAND_IN_BUILD_S    how long a build pretends to take
    STAND_IN_PID        a file that gets the process id of a build
"""

import json
import os
import sys
import time
from pathlib import Path

import onnx
from onnx import TensorProto, shape_inference

VERSION = tuple(int(part) for part in os.environ["STAND_IN_VERSION"].split("."))
OPTIONS = Path(__file__).with_name("trtexec_options.txt")
DEVICE = "stand-in, no GPU"
NAMES = {"FLOAT": "FP32", "FLOAT16": "FP16", "INT8": "Int8", "INT32": "Int32", "INT64": "Int64", "BOOL": "Bool"}
ON_DLA = ("Conv", "Relu", "Add")


def say(text, level="I"):
    print(f"[11/25/2026-12:00:00] [{level}] {text}", flush=True)


def number():
    """NV_TENSORRT_VERSION."""
    major, minor, patch = VERSION
    return (major * 1000 if major < 10 else major * 10_000) + minor * 100 + patch


def report(result):
    build = "" if VERSION[0] < 10 else " [b1]"
    say(f"&&&& {result} TensorRT.trtexec [TensorRT v{number()}]{build} # {' '.join(sys.argv)}")


def fail(*errors):
    for error in errors:
        say(error, "E")
    report("FAILED")
    sys.exit(1)


def parse_arguments(words):
    versions = dict(line.split(" ", 1) for line in OPTIONS.read_text().splitlines() if line.startswith("--"))
    name = os.environ["STAND_IN_VERSION"]
    known = {option for option, taken in versions.items() if name in taken.split()}
    given = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    unknown = [f"Unknown option: {option} {value}" for option, value in given.items() if option not in known]
    if unknown:
        for line in unknown:
            say(line, "E")
        if VERSION[0] < 10:
            report("FAILED")
        sys.exit(1)
    if "--best" in given and "--stronglyTyped" in given:
        fail("--best and --stronglyTyped cannot be both set.")
    return given


def read_shapes(text):
    """``x:1x3x8x8,y:2`` as a mapping."""
    pairs = (spec.rsplit(":", 1) for spec in text.split(",") if spec)
    return {name: [int(size) for size in sizes.split("x")] for name, sizes in pairs}


def fix_inputs(graph, shapes):
    dynamic = {entry.name for entry in graph.input if any(d.dim_param for d in entry.type.tensor_type.shape.dim)}
    if shapes and not dynamic:
        fail("Static model does not take explicit shapes since the shape of inference tensors will be determined")
    for entry in graph.input:
        if entry.name in dynamic:
            for axis, size in zip(entry.type.tensor_type.shape.dim, shapes[entry.name], strict=True):
                axis.dim_value = size


def read_network(path, shapes):
    """Nodes, and the sizes and types of their tensors."""
    try:
        model = onnx.load(path)
    except Exception:
        fail("Failed to parse onnx file", "Parsing model failed", "Failed to create engine from model or file.")
    for position, node in enumerate(model.graph.node):
        if not onnx.defs.has(node.op_type):
            where = f'While parsing node number {position} [{node.op_type} -> "{node.output[0]}"]:'
            fail(f"[TRT] ModelImporter.cpp:771: {where}", "Failed to parse onnx file", "Parsing model failed")
    fix_inputs(model.graph, shapes)
    inferred = shape_inference.infer_shapes(model).graph
    tensors = {}
    for entry in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = entry.type.tensor_type
        tensors[entry.name] = ([d.dim_value for d in kind.shape.dim], NAMES[TensorProto.DataType.Name(kind.elem_type)])
    return list(model.graph.node), tensors


def fuse(nodes):
    """Lists of nodes that make a layer."""
    readers = {}
    for node in nodes:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node.name)
    layers = []
    for node in nodes:
        last = layers[-1][-1] if layers else None
        follows = last is not None and node.input[0] == last.output[0] and readers[last.output[0]] == [node.name]
        if follows and node.op_type in ("Add", "Relu") and layers[-1][0].op_type in ("Conv", "Gemm"):
            layers[-1].append(node)
        else:
            layers.append([node])
    return layers


def describe_tensor(name, tensors, narrow):
    shape, kind = tensors[name]
    kind = "FP16" if narrow and kind == "FP32" else kind
    tensor = {"Name": name, "Location": "Device", "Dimensions": shape}
    if VERSION[0] < 11:
        return {**tensor, "Format/Datatype": f"Row major linear {kind} format"}
    return {**tensor, "Format": "Row major linear format (kLINEAR)", "Datatype": kind}


def describe_layer(nodes, tensors, narrow):
    name = " + ".join(node.name for node in nodes)
    read = [t for node in nodes for t in node.input if t in tensors and t not in {o for n in nodes for o in n.output}]
    kinds = {"Conv": "CaskConvolution", "Gemm": "MatrixMultiply"}
    return {
        "Name": name,
        "LayerType": kinds.get(nodes[0].op_type, nodes[0].op_type),
        "Inputs": [describe_tensor(tensor, tensors, narrow) for tensor in read],
        "Outputs": [describe_tensor(nodes[-1].output[0], tensors, narrow)],
        "TacticName": "none",
        "Metadata": "\x1e".join(f"[ONNX Layer: {node.name}]" for node in nodes),
    }


def reformat(graph_input, first, tensors, narrow):
    copied = describe_tensor(graph_input, tensors, narrow)
    name = f"Reformatting CopyNode for Input Tensor 0 to {first}"
    source = describe_tensor(graph_input, tensors, narrow=False)
    return {"Name": name, "LayerType": "Reformat", "Inputs": [source], "Outputs": [copied], "Metadata": ""}


def tell_dla(nodes):
    """The lines on where layers run."""
    left = [node for node in nodes if node.op_type not in ON_DLA]
    for node in left:
        kind = node.op_type.upper()
        say(f"[TRT] Layer '{node.name}' ({kind}): Unsupported on DLA. Switching this layer's device type to GPU.", "W")
    taken = [node.name for node in nodes if node.op_type in ON_DLA]
    say("[TRT] ---------- Layers Running on DLA ----------")
    say(f"[TRT] [DlaLayer] {{ForeignNode[{taken[0]}...{taken[-1]}]}}")
    say("[TRT] ---------- Layers Running on GPU ----------")
    for node in left:
        say(f"[TRT] [GpuLayer] {node.op_type.upper()}: {node.name}")


def build(given):
    if "STAND_IN_PID" in os.environ:
        Path(os.environ["STAND_IN_PID"]).write_text(str(os.getpid()))
    time.sleep(float(os.environ.get("STAND_IN_BUILD_S", "0")))
    nodes, tensors = read_network(given["--onnx"], read_shapes(given.get("--optShapes", "")))
    narrow = "--fp16" in given
    if "--useDLACore" in given:
        if "--allowGPUFallback" not in given:
            fail("[TRT] a layer cannot run on DLA and GPU fallback is off")
        tell_dla(nodes)
    layers = [describe_layer(layer, tensors, narrow) for layer in fuse(nodes)]
    if narrow:
        layers.insert(0, reformat(nodes[0].input[0], layers[0]["Name"], tensors, narrow))
    if given.get("--profilingVerbosity") != "detailed":
        layers = [layer["Name"] for layer in layers]
    engine = {"stand-in": True, "version": VERSION, "layers": layers}
    Path(given["--saveEngine"]).write_text(json.dumps(engine))
    if "--timingCacheFile" in given:
        Path(given["--timingCacheFile"]).write_text("stand-in")
    return engine


def load(path):
    try:
        engine = json.loads(Path(path).read_text())
    except ValueError:
        fail("[TRT] IRuntime::deserializeCudaEngine: Error Code 1: Serialization", "Engine deserialization failed")
    if tuple(engine["version"]) != VERSION:
        fail("[TRT] IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Version tag does not match)")
    return engine


def write_layers(engine, path):
    if VERSION[0] < 11:
        content = {"Layers": engine["layers"], "Bindings": ["x", "y"]}
    else:
        io = {"Name": "x", "IOMode": "Input", "DataType": "Float", "Location": "Device", "ProfileInfo": []}
        content = {"Layers": engine["layers"], "I/O Tensors": [io]}
    Path(path).write_text(json.dumps(content))


def times_ms(engine, graph):
    return [
        (layer["Name"], 0.002 + (0 if graph else 0.003) + 1e-6 * elements(layer["Outputs"][0]["Dimensions"]))
        for layer in engine["layers"]
    ]


def elements(shape):
    total = 1
    for size in shape:
        total *= size
    return total


def run(engine, given):
    say("=== Device Information ===")
    new = VERSION[0] >= 11
    graph = ("--noCudaGraph" not in given if new else "--useCudaGraph" in given) and "--useDLACore" not in given
    runs = int(given.get("--iterations", "10"))
    layers = times_ms(engine, graph)
    profiling = "--exportProfile" in given
    if "--exportTimes" in given and (new or not profiling or "--separateProfileRun" in given):
        with Path(given["--exportTimes"]).open("w") as file:
            file.write("[\n")
            for k in range(runs):
                compute = sum(ms for _, ms in layers) + 0.001 * (k % 5)
                keys = ("startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs")
                stamps = ", ".join(f'"{key}" : {100 + k:g}' for key in (*keys, "startD2hMs", "endD2hMs"))
                rest = f'"h2dMs" : 0, "computeMs" : {compute:g}, "d2hMs" : 0, "latencyMs" : {compute:g}'
                file.write(f"{', ' if k else '  '}{{ {stamps}, {rest} }}\n")
            file.write("]\n")
    if profiling:
        total = sum(ms for _, ms in layers)
        with Path(given["--exportProfile"]).open("w") as file:
            file.write(f'[\n  {{ "count" : {runs} }}\n')
            for name, ms in layers:
                shares = f'"timeMs" : {runs * ms:g}, "averageMs" : {ms:g}, "medianMs" : {ms:g}'
                file.write(f', {{ "name" : "{name}", {shares}, "percentage" : {100 * ms / total:g} }}\n')
            file.write("]\n")


def main():
    if "STAND_IN_CALLS" in os.environ:
        with Path(os.environ["STAND_IN_CALLS"]).open("a") as calls:
            calls.write(" ".join(sys.argv[1:]) + "\n")
    report("RUNNING")
    if "--help" in sys.argv:
        print("=== Model Options ===")
        return
    given = parse_arguments(sys.argv[1:])
    say(f"Selected Device: {DEVICE}")
    engine = build(given) if "--onnx" in given else load(given["--loadEngine"])
    if "--exportLayerInfo" in given:
        write_layers(engine, given["--exportLayerInfo"])
    if "--skipInference" not in given:
        run(engine, given)
    report("PASSED")


if __name__ == "__main__":
    main()
