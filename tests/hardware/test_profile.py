"""Profiles that come with the package load; every mistake in one's own gets its own clear line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deploy_prune
from deploy_prune.errors import InputError
from deploy_prune.hardware.availability import require_one_precision
from deploy_prune.hardware.profile import HardwareProfile, list_profiles, load_profile

ROOT = Path(__file__).parents[2]
MINIMAL = "name: mine\nengine: onnxruntime\n"


@pytest.fixture
def write(tmp_path):
    def write_profile(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write_profile


def mistakes_in(path):
    with pytest.raises(InputError) as caught:
        load_profile(path)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("name", list_profiles())
def test_packaged_profiles_load_under_their_own_name(name):
    assert load_profile(name).name == name


def test_the_processor_profile_is_the_steadiest_one():
    profile = load_profile("cpu-onnxruntime")
    assert (profile.engine, profile.device, profile.threads) == ("onnxruntime", "cpu", 1)
    assert (profile.precision, profile.batch, profile.spinning) == ("fp32", 1, False)
    assert profile.measuring.ci_width == 0.01


def test_own_profile_by_path_with_defaults_for_the_rest(write):
    path = write(MINIMAL + "threads: 2\naffinity: [0, 1]\naxes: {height: 320}\nmeasuring: {max_s: 3}\n")
    profile = load_profile(path)
    assert (profile.threads, profile.affinity, profile.axes) == (2, (0, 1), {"height": 320})
    assert profile.measuring.max_s == 3 and profile.measuring.min_runs == 50
    assert HardwareProfile.model_validate_json(profile.model_dump_json()) == profile


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("thread: 2", "thread: unknown key, did you mean 'threads'?"),
        ("zzz: 2", "zzz: unknown key; known keys: name, engine, mode, device, threads, "),
        ("threads: two", "threads: expected a whole number, got 'two'"),
        ("threads: 1.5", "threads: expected a whole number, got 1.5"),
        ("threads: true", "threads: expected a whole number, got True"),
        ("threads:", "threads: expected a whole number, got nothing"),
        ("threads: 0", "threads: expected greater than or equal to 1, got 0"),
        ("spinning: 1", "spinning: expected true or false, got 1"),
        ("affinity: 3", "affinity: expected a list, got 3"),
        ("precision: fp3", "precision: expected 'fp32', 'bf16', 'fp16' or 'int8', got 'fp3'"),
        ("precision: bf16", "precision: onnxruntime knows fp32, fp16, int8, got 'bf16'"),
        ("mode: eager", "mode: onnxruntime has no modes, got 'eager'; leave it out"),
        ("power: {clocks: fixed}", "power.clocks: expected 'observed' or 'locked', got 'fixed'"),
        ("power: {governer: x}", "power.governer: unknown key, did you mean 'governor'?"),
        ("host: 3", "host: expected a text, got 3"),
        ("measuring: {pairs: 1}", "measuring.pairs: expected greater than or equal to 2, got 1"),
        ("measuring: 3", "measuring: expected a mapping of keys, got 3"),
        ("measuring: {max_s: soon}", "measuring.max_s: expected a number, got 'soon'"),
        ("measuring: {max_s: -1}", "measuring.max_s: expected greater than 0, got -1"),
        ("measuring: {max_s: .inf}", "measuring.max_s: expected a finite number, got inf"),
        ("measuring: {min_run: 3}", "measuring.min_run: unknown key, did you mean 'min_runs'?"),
    ],
)
def test_each_mistake_has_its_line(write, line, mistake):
    (got,) = mistakes_in(write(MINIMAL + line + "\n"))
    assert got.startswith(mistake)


def test_unknown_engine_names_the_known_ones(write):
    assert mistakes_in(write("name: mine\nengine: onnxrt\n")) == [
        "engine: expected 'onnxruntime', 'openvino', 'torch' or 'tensorrt', got 'onnxrt'"
    ]


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("engine: openvino\nspinning: true\nmode: compile\n",
         ["mode: openvino has no modes, got 'compile'; leave it out",
          "spinning: whether idle threads spin cannot be chosen with openvino; leave it out"]),
        ("engine: openvino\ndevice: cuda\n", ["device: openvino knows cpu, got 'cuda'"]),
        ("engine: torch\n", ["mode: torch knows eager, compile, cuda_graph, got nothing"]),
        ("engine: torch\nmode: cuda_graph\n", ["device: mode cuda_graph needs 'cuda', got 'cpu'"]),
        ("engine: tensorrt\n",
         ["mode: tensorrt knows trtexec, python, got nothing", "device: tensorrt knows cuda, got 'cpu'"]),
        ("engine: torch\nmode: eager\ntensorrt: {typing: weak}\n",
         ["tensorrt: these settings are for the engine tensorrt, not torch; leave them out"]),
        ("engine: tensorrt\nmode: trtexec\ndevice: cuda\ntensorrt: {dla_core: 0}\n",
         ["tensorrt: the DLA computes in fp16 and int8 alone; set 'precision'"]),
        ("engine: tensorrt\nmode: trtexec\ndevice: cuda\ntensorrt: {dla_cor: 0, optimization_level: 9}\n",
         ["tensorrt.optimization_level: expected less than or equal to 5, got 9",
          "tensorrt.dla_cor: unknown key, did you mean 'dla_core'?"]),
    ],
)  # fmt: skip
def test_what_an_engine_cannot_do(write, text, mistakes):
    assert mistakes_in(write(f"name: mine\n{text}")) == mistakes


def test_boards_that_nobody_has_measured_on_say_so():
    untested = {name for name in list_profiles() if load_profile(name).untested}
    assert untested == {name for name in list_profiles() if not name.startswith("cpu-")}
    for name in untested:
        assert "NOT RUN YET" in (ROOT / "hardware_profiles" / f"{name}.yaml").read_text()


def test_all_mistakes_are_reported_at_once(write):
    lines = mistakes_in(write("engine: tensorflow\nthreads: two\nbatches: 4\n"))
    assert lines == [
        "name: this key is required and missing",
        "engine: expected 'onnxruntime', 'openvino', 'torch' or 'tensorrt', got 'tensorflow'",
        "threads: expected a whole number, got 'two'",
        "batches: unknown key, did you mean 'batch'?",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("- a\n", "expected a mapping of names to values, such as 'engine: onnxruntime', got ['a']"),
        ("", "expected a mapping of names to values, such as 'engine: onnxruntime', got nothing"),
        ("name: [\n", "cannot be read as YAML (while parsing a flow node"),
    ],
)
def test_files_that_are_no_profile(write, text, mistake):
    (got,) = mistakes_in(write(text))
    assert got.startswith(mistake)


def test_binary_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    (got,) = mistakes_in(path)
    assert got.startswith("cannot be read as YAML (")


def test_unknown_profile_names_the_nearest_and_all():
    with pytest.raises(InputError) as caught:
        load_profile("cpu-onnxruntim")
    assert str(caught.value) == (
        "unknown profile 'cpu-onnxruntim' (did you mean 'cpu-onnxruntime'?); "
        f"known: {', '.join(list_profiles())}, or give the path of a .yaml file"
    )


def test_missing_profile_file():
    with pytest.raises(InputError, match=r"^profile file nowhere/mine\.yaml not found; the profiles by name"):
        load_profile(Path("nowhere/mine.yaml"))


def test_an_installed_package_finds_its_profiles_beside_its_code(tmp_path):
    """As the wheel lays it out: the profiles in ``hardware/profiles``, and no checkout around."""
    package = Path(deploy_prune.__file__).parent
    shutil.copytree(package / "hardware", tmp_path / "deploy_prune/hardware")
    for name in ("errors.py", "mistakes.py"):
        shutil.copy(package / name, tmp_path / "deploy_prune")
    (tmp_path / "deploy_prune/__init__.py").touch()
    shutil.copytree(package.parent / "hardware_profiles", tmp_path / "deploy_prune/hardware/profiles")
    (tmp_path / "deploy_prune/hardware/profiles/extra.yaml").write_text(MINIMAL)
    script = "from deploy_prune.hardware.profile import *; print(list_profiles(), load_profile('extra').name)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tuple(sorted((*list_profiles(), 'extra')))} mine\n"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"engine": "onnxruntime"}, "fp32"),
        ({"engine": "onnxruntime", "precision": "fp16"}, "fp16"),
        ({"engine": "onnxruntime", "precision": "int8"}, "int8"),
        ({"engine": "openvino", "precision": "bf16"}, "fp32"),  # the engine is set to it, whatever the file says
        ({"engine": "openvino", "precision": "int8"}, "int8"),
        ({"engine": "torch", "mode": "eager", "precision": "fp16"}, "fp32"),
        ({"engine": "tensorrt", "mode": "trtexec", "device": "cuda", "precision": "fp16"}, "fp16"),
        (
            {"engine": "tensorrt", "mode": "trtexec", "device": "cuda", "precision": "fp16",
             "tensorrt": {"typing": "weak"}},
            "fp32",
        ),
    ],
)  # fmt: skip
def test_files_are_in_the_precision_that_the_engine_takes_from_them(settings, wanted):
    assert HardwareProfile.model_validate({"name": "mine", **settings}).file_precision == wanted


def test_one_search_is_over_files_of_one_precision():
    floats, integers = (
        HardwareProfile.model_validate({"name": name, "engine": "onnxruntime", "precision": name})
        for name in ("fp32", "int8")
    )
    require_one_precision(integers, [integers])
    with pytest.raises(InputError, match=r"'int8' takes files in int8 and 'fp32' in fp32; .* make two runs"):
        require_one_precision(floats, [floats, integers])
