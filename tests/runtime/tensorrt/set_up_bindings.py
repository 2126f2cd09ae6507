"""Fetch NVIDIA's Python bindings of several TensorRT versions and make them importable without TensorRT.

    python tests/runtime/tensorrt/set_up_bindings.py FOLDER
    DEPLOY_PRUNE_TENSORRT_BINDINGS=FOLDER python -m pytest tests/runtime/tensorrt/test_contract.py

The wheels (about a megabyte each, proprietary, for Linux on x86-64) hold the extension module alone. It needs ten or so
C symbols of TensorRT's libraries, of which a compiler makes libraries of the same names that do nothing: names, enums
and signatures of that version can then be asked for, and nothing can be run. Needs pip and a C compiler.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

# version -> the requirement that has its bindings
WHEELS = {
    "8.6": "tensorrt-bindings==8.6.1",
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.13": "tensorrt-cu12-bindings==10.13.3.9",
    "10.16": "tensorrt-cu13-bindings==10.16.1.11",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
# What `nm --undefined-only` finds in the modules: libnvinfer's, libnvinfer_plugin's and libnvonnxparser's, and of 8.6
# the UFF and Caffe parsers'.
SYMBOLS = """
createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL createNvOnnxParser_INTERNAL
createNvOnnxParserRefitter_INTERNAL getBuilderPluginRegistry getPluginRegistry getNvOnnxParserVersion
initLibNvInferPlugins _ZN11nvuffparser15createUffParserEv _ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi
_ZN14nvcaffeparser117createCaffeParserEv _ZN14nvcaffeparser123shutdownProtobufLibraryEv
""".split()
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")


def unpack(requirement: str, target: Path) -> None:
    wheels = target / "wheel"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(wheels), requirement], check=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)


def compile_dummies(major: str, target: Path) -> None:
    source = target / "dummy.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    folder = target / "lib"
    folder.mkdir(exist_ok=True)
    for name in LIBRARIES:
        soname = f"lib{name}.so.{major}"
        options = ["-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(folder / soname)]
        subprocess.run(["cc", *options, str(source)], check=True)


def main(folder: Path) -> None:
    for version, requirement in WHEELS.items():
        target = folder / version
        if not (target / "tensorrt_bindings").is_dir():
            target.mkdir(parents=True, exist_ok=True)
            unpack(requirement, target)
        compile_dummies(version.partition(".")[0], target)
        print(f"{version}: {requirement} in {target}")
    (folder / "versions.json").write_text(json.dumps(list(WHEELS)))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
