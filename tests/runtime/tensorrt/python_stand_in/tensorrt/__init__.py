"""A stand-in for TensorRT's Python bindings. It is not TensorRT: it builds nothing, runs nothing and knows no GPU.

It has the names that deploy_prune uses and no others, each of which test_contract.py asks of the real bindings. Models
are read and layers described by the stand-in for trtexec. A run sleeps for a millisecond.
"""

import enum
import json
import os
import sys
import time
from pathlib import Path

import numpy

sys.path.append(str(Path(__file__).parents[2]))
import trtexec_stand_in as tool

__version__ = os.environ["STAND_IN_VERSION"]
BuilderFlag = enum.IntEnum("BuilderFlag", {"FP16": 0, "INT8": 1, "TF32": 7, "GPU_FALLBACK": 3})
DeviceType = enum.IntEnum("DeviceType", {"GPU": 0, "DLA": 1})
LayerInformationFormat = enum.IntEnum("LayerInformationFormat", {"ONELINE": 0, "JSON": 1})
MemoryPoolType = enum.IntEnum("MemoryPoolType", {"WORKSPACE": 0})
NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
ProfilingVerbosity = enum.IntEnum("ProfilingVerbosity", {"DETAILED": 1})
TensorIOMode = enum.IntEnum("TensorIOMode", {"INPUT": 1, "OUTPUT": 2})


class ILogger:
    Severity = enum.IntEnum("Severity", {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2, "INFO": 3, "VERBOSE": 4})


class IProfiler:
    pass


def init_libnvinfer_plugins(logger, namespace):
    return True


def nptype(kind):
    return kind


class Timings:
    def serialize(self):
        return b"stand-in"


class Config:
    def __init__(self):
        self.flags = {BuilderFlag.TF32}

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool, size):
        assert pool == MemoryPoolType.WORKSPACE and size % (1 << 20) == 0

    def create_timing_cache(self, content):
        assert content in (b"", b"stand-in")
        return Timings()

    def set_timing_cache(self, cache, ignore_mismatch):
        self.timings = cache

    def get_timing_cache(self):
        return self.timings

    def add_optimization_profile(self, profile):
        self.shapes = profile


class Profile(dict):
    def set_shape(self, name, low, best, high):
        assert low == best == high
        self[name] = best


class Network:
    path = None


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.errors = network, []

    num_errors = property(lambda self: len(self.errors))

    def get_error(self, position):
        return self.errors[position]

    def parse_from_file(self, path):
        self.network.path = path
        operators = [node.op_type for node in tool.onnx.load(path).graph.node]
        self.errors = [f"no importer for {op}" for op in operators if not tool.onnx.defs.has(op)]
        return not self.errors


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        return Network()

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        time.sleep(float(os.environ.get("STAND_IN_BUILD_S", "0")))
        if os.environ.get("STAND_IN_BUILD") == "crash":
            os.abort()
        if os.environ.get("STAND_IN_BUILD") == "refuse":
            self.logger.log(ILogger.Severity.ERROR, "no tactic found for /conv1/Conv")
            return None
        nodes, tensors = tool.read_network(network.path, getattr(config, "shapes", {}))
        narrow = BuilderFlag.FP16 in config.flags
        layers = [tool.describe_layer(layer, tensors, narrow) for layer in tool.fuse(nodes)]
        ports = [[nodes[0].input[0], *tensors[nodes[0].input[0]]], [nodes[-1].output[0], *tensors[nodes[-1].output[0]]]]
        return json.dumps({"layers": layers, "ports": ports}).encode()


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, plan):
        try:
            return Engine(json.loads(bytes(plan)))
        except ValueError:
            return None


class Engine:
    execution_context = None  # of its inspector, which is the engine itself

    def __init__(self, content):
        self.content = content
        self.num_io_tensors = len(content["ports"])

    def create_engine_inspector(self):
        return self

    def get_engine_information(self, form):
        assert self.execution_context is not None
        return json.dumps({"Layers": self.content["layers"], "Bindings": []})

    def create_execution_context(self):
        return Context(self.content)

    def get_tensor_name(self, position):
        return self.content["ports"][position][0]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == self.get_tensor_name(0) else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return numpy.float32


class Context:
    profiler = None

    def __init__(self, content):
        self.content, self.addresses = content, {}

    def set_input_shape(self, name, shape):
        assert shape == self.get_tensor_shape(name)

    def get_tensor_shape(self, name):
        return next(shape for port, shape, _ in self.content["ports"] if port == name)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream_handle):
        assert stream_handle and all(self.addresses.values()) and len(self.addresses) == 2
        time.sleep(0.001)
        if self.profiler is not None:
            for layer in self.content["layers"]:
                self.profiler.report_layer_time(layer["Name"], 0.1)
        return True
