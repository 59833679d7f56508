"""The wheel as a user gets it: what is in it, and that it works where there is neither this tree nor Rust."""

import email
import json
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python/amortix"
BUILD = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]


def run(*command: object, **options) -> str:
    """Standard output of a command that must succeed; its errors are shown where it does not."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from this tree, in the compiler's own target folder."""
    out = tmp_path_factory.mktemp("wheel")
    run(*BUILD, "--wheel-dir", out, ROOT)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def members(wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The ``bin`` of an environment that holds this wheel, and sees the dependencies installed here."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = (home / "lib").glob("python3*/site-packages")
    # A path of a .pth file comes last, and the .pth files in there, such as this tree's own, are not read.
    here = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()])
    (packages / "dependencies.pth").write_text("\n".join(here) + "\n")
    return home / "bin"


def python(installed: Path, tmp_path: Path, code: str) -> str:
    return run(installed / "python", "-c", code, cwd=tmp_path, env=bare(installed))


def bare(installed: Path) -> dict[str, str]:
    """An environment that leads to nothing but the installation: no Rust, no settings of this process."""
    return {"PATH": str(installed), "HOME": str(installed.parent), "OMP_NUM_THREADS": "1"}


def shipped(folder: str, pattern: str) -> dict[str, bytes]:
    """The files of a folder of the package that must be in the wheel, by their name there."""
    files = {f"amortix/{folder}{path.name}": path.read_bytes() for path in (PACKAGE / folder).glob(pattern)}
    assert files, f"there is no {folder}{pattern}"
    return files


def test_one_wheel_for_all_pythons(wheel, members):
    assert "-cp311-abi3-" in wheel.name
    (metadata,) = [content for name, content in members.items() if name.endswith(".dist-info/METADATA")]
    fields = email.message_from_bytes(metadata)
    assert fields["Name"] == "amortix"
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.11"
    needed = [need for need in fields.get_all("Requires-Dist") if "extra ==" not in need]
    names = {need.split(">")[0].split("<")[0].strip() for need in needed}
    assert names == {"numpy", "torch", "safetensors", "typer", "rich"}
    assert not any("<" in need for need in needed), "a run-time dependency is pinned from above"


def test_nothing_lies_beside_the_package(members):
    tops = {name.split("/")[0] for name in members}
    (info,) = tops - {"amortix"}
    assert info.endswith(".dist-info")
    assert len(members) >= 50


def test_the_package_is_whole(members):
    modules = shipped("", "*.py") | {"amortix/py.typed": b""}
    folders = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    assert len(folders) >= 5
    for folder in folders:
        modules |= shipped(f"{folder}/", "*.py")
    data = shipped("ops/kernels/", "*.cu") | shipped("recipes/", "*.toml") | shipped("", "*.pyi")
    data |= shipped("recipes/optimizers/", "*.toml") | shipped("weights/optimizers/", "*.safetensors")
    data |= shipped("weights/", "*.safetensors") | shipped("weights/", "*.json")
    for name, content in (modules | data).items():
        assert members.get(name) == content, f"{name} is not in the wheel as it is in the tree"
    (compiled,) = [name for name in members if name.endswith(".so")]
    assert compiled == "amortix/_core.abi3.so"
    strange = set(members) - set(modules) - set(data) - {compiled}
    assert all(".dist-info/" in name for name in strange), f"the wheel has more than the tree: {strange}"


def test_kernels_have_the_content_of_the_real_files(members):
    real = {f"amortix/ops/kernels/{path.name}": path.read_bytes() for path in (ROOT / "cuda").glob("*.cu")}
    assert real
    assert {name: content for name, content in members.items() if name.endswith(".cu")} == real


def test_the_licence_is_inside(members):
    (text,) = [content for name, content in members.items() if name.endswith("/LICENSE")]
    assert text == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_is_small(wheel, members):
    assert wheel.stat().st_size < 10e6
    for name, content in members.items():
        assert not name.endswith(".safetensors") or len(content) <= 4e6, f"{name} has {len(content)} bytes"


def test_it_is_imported_from_the_wheel(installed, tmp_path):
    found = python(installed, tmp_path, "import amortix._core as core; print(core.__file__)").strip()
    assert Path(found).is_relative_to(installed.parent)
    assert not Path(found).is_relative_to(ROOT)


def test_data_files_are_found_there(installed, tmp_path):
    code = """
        import json
        from importlib import resources
        from amortix.checkpoint import bundled, load
        from amortix import ops
        files = {f: sorted(p.name for p in resources.files("amortix").joinpath(f).iterdir()) for f in FOLDERS}
        print(json.dumps(files | {"bundled": [load(name).regime for name in bundled()]}))
    """
    folders = ["ops/kernels", "recipes", "weights"]
    code = "\n".join(line.strip() for line in code.splitlines())
    found = json.loads(python(installed, tmp_path, f"FOLDERS = {folders}\n{code}"))
    for folder in folders:
        assert set(found[folder]) - {"__init__.py"} == {path.name for path in (PACKAGE / folder).iterdir()}
    assert set(found["bundled"]) == {"parametric", "explicit", "implicit"}


def test_the_main_job_runs_there(installed, tmp_path):
    assert run(installed / "amortix", "--version", env=bare(installed)).startswith("amortix 0.")
    rows = "".join(f"{i % 17},{i % 13},{2 * (i % 17) - (i % 13) + 1}\n" for i in range(400))
    (tmp_path / "table.csv").write_text("a,b,y\n" + rows)
    call = [installed / "amortix", "adapt", "table.csv", "--target", "y", "--regime", "parametric"]
    lines = run(*call, "--save", "model", "--json", cwd=tmp_path, env=bare(installed)).splitlines()
    last = json.loads(lines[-1])
    assert last["regime"] == "parametric"
    here = run(sys.executable, "-m", "amortix", *call[1:], "--json", cwd=tmp_path).splitlines()
    assert last["score"] == json.loads(here[-1])["score"], "the wheel and the tree disagree"
    call = [installed / "amortix", "predict", "model", "table.csv", "--out", "out.csv"]
    run(*call, cwd=tmp_path, env=bare(installed))
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 401


def test_rust_is_out_of_reach_there(installed):
    tools = [tool for tool in ("cargo", "rustc", "maturin") if (installed / tool).exists()]
    assert not tools
    assert os.pathsep not in bare(installed)["PATH"]
