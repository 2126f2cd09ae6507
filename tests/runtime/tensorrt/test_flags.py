"""Which flags are given to which trtexec; the versions that take a flag were read from its sources."""

from pathlib import Path

import pytest

from deploy_prune.runtime.worker import tensorrt_flags
from deploy_prune.runtime.worker.refusal import RefusedError

HERE = Path(__file__).parent
DOCS = HERE.parents[2] / "docs" / "tensorrt.md"
VERSIONS = {name: tuple(map(int, name.split("."))) for name in ("8.6.1", "10.3.0", "10.13.3", "10.16.1", "11.1.0")}
SETTINGS = {"typing": "weak", "dla_core": None, "workspace_mib": None, "optimization_level": 3}
BUILD_PATHS = {"onnx": "m.onnx", "engine": "e", "timing_cache": "t"}
RUN_PATHS = {"engine": "e", "times": "t"}


def read_options():
    lines = (HERE / "trtexec_options.txt").read_text().splitlines()
    return {line.split()[0]: set(line.split()[1:]) for line in lines if line.startswith("--")}


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec", (8, 6, 1)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v9300] # trtexec", (9, 3, 0)),
        ("[11/25/2026-12:00:00] [I] &&&& RUNNING TensorRT.trtexec [TensorRT v100300] [b46] # ./trtexec", (10, 3, 0)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # trtexec", (10, 13, 3)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106] # trtexec", (11, 1, 0)),
    ],
)
def test_the_banner_tells_the_version(banner, version):
    assert tensorrt_flags.parse_version(banner) == version


@pytest.mark.parametrize(
    ("banner", "reason"),
    [
        ("hello", "trtexec does not say its version"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # t", "TensorRT 8.5.2 is too old; 8.6 is the oldest"),
    ],
)
def test_what_is_no_known_trtexec(banner, reason):
    with pytest.raises(RefusedError, match=reason):
        tensorrt_flags.parse_version(banner)


@pytest.mark.parametrize("flag", tensorrt_flags.FLAGS)
def test_the_table_says_what_the_sources_say(flag):
    taken = {name for name, version in VERSIONS.items() if tensorrt_flags.FLAGS[flag].exists_in(version)}
    assert taken == read_options()[flag]


def test_the_page_has_the_table():
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| `--")]
    expected = []
    for name, flag in tensorrt_flags.FLAGS.items():
        first = ".".join(map(str, flag.first))
        end = "" if flag.end is None else f", before {'.'.join(map(str, flag.end))}"
        expected.append([f"`{name}`", f"{first}{end}", flag.purpose])
    assert rows == expected


def test_a_build_with_weak_typing():
    given = tensorrt_flags.build_arguments((10, 3, 0), "int8", SETTINGS, "", BUILD_PATHS)
    assert given == [
        "--onnx=m.onnx", "--saveEngine=e", "--skipInference", "--timingCacheFile=t", "--profilingVerbosity=detailed",
        "--builderOptimizationLevel=3", "--fp16", "--int8",
    ]  # fmt: skip
    assert tensorrt_flags.drop_paths(given) == [
        "--skipInference", "--profilingVerbosity=detailed", "--builderOptimizationLevel=3", "--fp16", "--int8",
    ]  # fmt: skip


@pytest.mark.parametrize(("version", "flags"), [((10, 3, 0), ["--stronglyTyped"]), ((11, 1, 0), [])])
def test_strong_typing_is_asked_for_where_it_is_a_choice(version, flags):
    given = tensorrt_flags.build_arguments(version, "fp16", {**SETTINGS, "typing": "strong"}, "", BUILD_PATHS)
    assert given[6:] == flags


def test_fp32_is_without_tf32_and_dynamic_inputs_have_one_size():
    settings = {**SETTINGS, "workspace_mib": 512}
    given = tensorrt_flags.build_arguments((8, 6, 1), "fp32", settings, "x:1x3x8x8", BUILD_PATHS)
    assert given[6:] == [
        "--memPoolSize=workspace:512", "--minShapes=x:1x3x8x8", "--optShapes=x:1x3x8x8", "--maxShapes=x:1x3x8x8",
        "--noTF32",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        ((8, 6, 1), ["--noDataTransfers", "--useSpinWait", "--useCudaGraph"]),
        ((10, 16, 1), ["--noDataTransfers", "--useSpinWait", "--useCudaGraph"]),
        ((11, 1, 0), []),
    ],
)
def test_all_versions_are_asked_for_the_same_measurement(version, flags):
    given = tensorrt_flags.run_arguments(version, SETTINGS, "", 50, RUN_PATHS)
    assert given == ["--loadEngine=e", "--warmUp=200", "--duration=0", "--iterations=50", "--exportTimes=t", *flags]


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        ((10, 3, 0), ["--noDataTransfers", "--useSpinWait", "--useDLACore=1"]),
        ((11, 1, 0), ["--useDLACore=1", "--noCudaGraph"]),
    ],
)
def test_there_is_no_cuda_graph_on_the_dla(version, flags):
    given = tensorrt_flags.run_arguments(version, {**SETTINGS, "dla_core": 1}, "", 50, RUN_PATHS)
    assert given[5:] == flags


@pytest.mark.parametrize(
    ("version", "flags"),
    [((10, 3, 0), ["--exportProfile=p", "--separateProfileRun"]), ((11, 1, 0), ["--exportProfile=p"])],
)
def test_layers_are_timed_in_a_run_of_their_own(version, flags):
    given = tensorrt_flags.run_arguments(version, SETTINGS, "x:1x3", 50, {**RUN_PATHS, "profile": "p"})
    assert given[5] == "--shapes=x:1x3" and given[-len(flags) :] == flags


@pytest.mark.parametrize(
    ("version", "settings", "reason"),
    [
        ((11, 1, 0), {}, "TensorRT 11.1.0 takes types from the file alone; set 'typing: strong' under 'tensorrt'"),
        ((8, 6, 1), {"typing": "strong"}, "TensorRT 8.6.1 has no strong typing; set 'typing: weak'"),
        ((10, 3, 0), {"typing": "strong", "dla_core": 0}, "the DLA needs 'typing: weak' under 'tensorrt' with"),
    ],
)
def test_what_a_version_cannot_do(version, settings, reason):
    with pytest.raises(RefusedError, match=reason):
        tensorrt_flags.check_settings(version, "fp16", {**SETTINGS, **settings})


def test_a_flag_that_a_version_lacks_never_reaches_it():
    with pytest.raises(RefusedError, match=r"trtexec of TensorRT 11.1.0 has no flag --fp16"):
        tensorrt_flags.require_known(["--onnx=m", "--fp16"], (11, 1, 0))


def test_only_dynamic_inputs_get_a_size():
    inputs = [("x", "float32", ("n", 3, 8)), ("y", "int64", (1, 5))]
    assert tensorrt_flags.show_shapes(inputs, {"x": [2, 3, 8], "y": [1, 5]}) == "x:2x3x8"
