"""Fetch a 64-bit Arm Python with ONNX Runtime and the emulator that runs it on this machine.

    python tests/runtime/remote/set_up_aarch64.py FOLDER
    DEPLOY_PRUNE_AARCH64=FOLDER python -m pytest tests/runtime/remote/test_aarch64.py

Debian's arm64 packages of Python and qemu-user-static are downloaded by apt into FOLDER and unpacked there, the aarch64
wheels of NumPy and ONNX Runtime by pip: 150 MB down, 700 MB on the disk, a quarter of a minute. Nothing is installed,
and no entry in binfmt_misc is needed. ``FOLDER/python`` is then a Python that believes itself on a Cortex-A76, the
processor of a Raspberry Pi 5. Needs a Debian on x86-64, with pip in the Python that runs this.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

PROCESSOR = "cortex-a76"
# What the kernel says of two such cores. QEMU 7.2 shows the host's file, and ONNX Runtime 1.32 does not survive that.
CPUINFO = """\
processor\t: {core}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
# ``-0 "$0"`` makes this file ``sys.executable``, by which the worker's relay starts its child.
WRAPPER = """\
#!/bin/sh
exec {folder}/qemu/usr/bin/qemu-aarch64-static -cpu {processor} -0 "$0" -L {folder}/root {folder}/root{python} "$@"
"""
NEWEST_GLIBC = 36  # 2.36, that of Debian 12


def unpack_packages(architecture: str, packages: list[str], work: Path, root: Path) -> None:
    """Debian packages with all that they need, into ``root``; apt works in ``work``, with lists of its own."""
    for name in ("lists/partial", "archives/partial"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()  # nothing is installed, so everything is fetched
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Sandbox::User": "root",  # the user that apt downloads as may have no access to ``work``
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache::archives": work / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "true",
    }
    apt = ["apt-get", "--quiet=2", *(f"-o{name}={value}" for name, value in settings.items())]
    subprocess.run([*apt, "update"], check=True)
    install = [*apt, "--yes", "--no-install-recommends", "--download-only", "install", *packages]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    for package in sorted((work / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)


def unpack_wheels(python: str, packages: list[str], work: Path, target: Path) -> None:
    """Wheels for aarch64 and CPython ``python`` (such as "3.11"), without what they depend on."""
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, NEWEST_GLIBC + 1)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms]
    subprocess.run([*pip, f"--python-version={python}", f"--dest={work}", *packages], check=True)
    for wheel in sorted(work.glob("*.whl")):
        print(wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)


def main(folder: Path) -> None:
    root = folder / "root"
    unpack_packages("amd64", ["qemu-user-static"], folder / "work-amd64", folder / "qemu")
    unpack_packages("arm64", ["python3", "libstdc++6"], folder / "work-arm64", root)
    python = next(root.glob("usr/bin/python3.*[0-9]")).name
    site = root / "usr/local/lib" / python / "dist-packages"
    site.mkdir(parents=True, exist_ok=True)
    unpack_wheels(python.removeprefix("python"), ["numpy", "onnxruntime"], folder / "wheels", site)
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text("".join(CPUINFO.format(core=core) for core in range(2)))
    wrapper = folder / "python"
    wrapper.write_text(WRAPPER.format(folder=folder, processor=PROCESSOR, python=f"/usr/bin/{python}"))
    wrapper.chmod(0o755)
    subprocess.run([wrapper, "-c", "import platform; print(platform.machine(), platform.python_version())"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
