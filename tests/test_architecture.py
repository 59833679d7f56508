"""The rules of the tree, each over the files themselves; a rule that finds fewer files than there must be fails."""

import ast
import importlib
import inspect
import os
import re
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

import pytest

import amortix
from amortix import _core, errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python/amortix"

# One row per group of modules: its members, and the groups they may import. Modules of a group may import each
# other, without cycles. `amortix` itself imports every public name lazily and stands outside.
DIRECTIONS = {
    "errors": ("errors", ""),
    "data": ("data", "core errors"),
    "batch": ("batch", ""),
    "ops": ("ops", "core errors batch"),
    "numerics": (
        "moments prior sample kernel foresight basis latent merging objectives layout likelihoods gradients outer"
        " networks encoders sequences",
        "batch ops errors",
    ),
    "optim": ("optim learned_rule", "errors data ops"),
    "runs": ("runs", "errors"),
    "meta_optim": ("meta_optim", "errors data ops optim files runs"),
    "contracts": ("contracts", "batch numerics"),
    "adapters": ("adapters", "batch ops numerics contracts"),
    "predictors": ("predictors", "batch ops numerics contracts"),
    "refiners": ("refiners", "batch ops numerics contracts errors"),
    "updates": ("updates starts", "batch numerics contracts"),
    "learner": ("learner", "batch numerics contracts errors"),
    "language": ("language", "core errors data batch numerics contracts files"),
    "regimes": (
        "regimes methods",
        "numerics contracts adapters predictors refiners updates learner language errors batch",
    ),
    "checkpoint": ("checkpoint", "errors learner regimes"),
    "conformance": ("testing", "batch learner"),
    "meta": ("training evaluation uncertainty oracles preview", "errors data batch numerics learner checkpoint runs"),
    "loader": ("loader", "errors data"),
    "tabular": ("units metrics stacking baselines", "errors data"),
    "files": ("saving datasets", "core errors data"),
    "adaptation": (
        "adapt plan track model budget forecasts pretrained",
        "errors data batch learner checkpoint tabular files",
    ),
    "experiments": (
        "experiments",
        "errors data batch numerics learner checkpoint meta tabular files adaptation language regimes",
    ),
    "output": ("report plot task_plot loss_plot views", "errors data tabular files adaptation meta_optim"),
    "program": (
        "cli commands optim_commands options demo __main__",
        "core errors data checkpoint meta files adaptation output optim meta_optim",
    ),
}
MEMBERS = {member: group for group, (members, _) in DIRECTIONS.items() for member in members.split()}
SAVES_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
NETWORK = {"aiohttp", "fsspec", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "ssl", "urllib"}
NETWORK |= {"subprocess", "telnetlib", "urllib3", "webbrowser", "xmlrpc"}


def found(folder: Path, pattern: str, *, least: int) -> list[Path]:
    """The files of a rule; fewer than there must be means that the rule looks in the wrong place."""
    files = sorted(path for path in folder.rglob(pattern) if "__pycache__" not in path.parts)
    assert len(files) >= least, f"{folder}/{pattern}: {len(files)} files, expected {least} or more"
    return files


def modules(*, least: int = 35) -> dict[str, Path]:
    """The package's modules by their dotted name below `amortix`; the package itself is ``""``."""
    names = {}
    for path in found(PACKAGE, "*.py", least=least):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Dotted names that a file imports (``from a import b`` gives ``a.b``), and whether inside a function."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively: write the module's full name"
            yield from ((f"{node.module}.{alias.name}", id(node) in inner) for alias in node.names)


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name, _ in imports(path)}


def own_imports(path: Path, names: dict[str, Path]) -> set[str]:
    """The modules of amortix that a file imports; ``_core`` stands for the extension and for the version."""
    targets = set()
    for name, _ in imports(path):
        if name.startswith("amortix."):
            inner = name.removeprefix("amortix.")
            compiled = inner.startswith(("_core", "__version__"))
            targets.add("_core" if compiled else inner if inner in names else inner.rpartition(".")[0])
    return targets


def classes_of(*prefixes: str, least: int) -> list[type]:
    """The classes that some modules define, but for plain records."""
    seen = []
    for name in modules():
        if name.split(".")[0] in prefixes:
            module = importlib.import_module(f"amortix.{name}")
            own = inspect.getmembers(module, inspect.isclass)
            seen += [cls for _, cls in own if cls.__module__ == module.__name__ and not is_dataclass(cls)]
    assert len(seen) >= least, f"found {len(seen)} classes in {prefixes}, expected {least} or more"
    return seen


def test_every_module_has_a_place_in_the_table():
    names = {name.split(".")[0] for name in modules() if name}
    assert names == set(MEMBERS)


def test_imports_follow_the_table():
    names, edges = modules(), 0
    for name, path in names.items():
        if not name:
            continue
        group = MEMBERS[name.split(".")[0]]
        allowed = {group, *DIRECTIONS[group][1].split()}
        for target in own_imports(path, names):
            edges += 1
            other = "core" if target == "_core" else MEMBERS.get(target.split(".")[0])
            assert other in allowed, f"{name} imports {target}: {group} may import {sorted(allowed)}"
    assert edges >= 100


def test_imports_have_no_cycle():
    names = modules()
    left = {name: own_imports(path, names) - {"_core", name} for name, path in names.items() if name}
    while left:
        free = {name for name, targets in left.items() if not targets & set(left)}
        assert free, f"these modules import each other in a cycle, or need one: {sorted(left)}"
        left = {name: targets for name, targets in left.items() if name not in free}


def test_only_the_composition_knows_concrete_learners():
    users = 0
    for name, path in modules().items():
        taken = {n.rpartition(".")[2] for n, _ in imports(path) if n.startswith("amortix.learner.")}
        users += bool(taken)
        composes = MEMBERS.get(name.split(".")[0]) == "regimes"
        assert composes or taken <= {"AbstractLearner", "Regime", "Task"}, f"{name} imports {taken}"
    assert users >= 5


def test_the_data_plane_needs_no_torch():
    for path in found(PACKAGE / "data", "*.py", least=6):
        assert "torch" not in tops(path), f"{path} imports torch"
    run_python("import amortix.data, sys; assert 'torch' not in sys.modules")


def test_only_the_cuda_bodies_import_cupy_and_only_in_functions():
    importing = {}
    for name, path in modules().items():
        uses = [inner for imported, inner in imports(path) if imported.split(".")[0] == "cupy"]
        if uses:
            importing[name] = all(uses)
    assert importing == {"ops._cuda": True}


def run_python(code: str) -> float:
    """Run code in a new interpreter; the seconds it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "tests")
    return time.perf_counter() - started


def test_import_needs_no_torch_and_little_time():
    heavy = "{'torch', 'numpy', 'typer', 'rich', 'matplotlib', 'sklearn', 'cupy'}"
    run_python(f"import sys, amortix; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)")
    # In turns, so that a neighbour's load falls on both.
    extra = [run_python("import amortix") - run_python("pass") for _ in range(9)]
    assert statistics.median(extra) < 0.15


def test_public_names_load_and_are_listed():
    assert sorted(amortix.__all__) == amortix.__all__
    assert set(amortix.__all__) == {*amortix._HOMES, "__version__"}
    for name in amortix.__all__:
        assert getattr(amortix, name) is not None
    typed = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in typed.body if isinstance(node, ast.If))
    promised = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert promised == {name: f"amortix.{home}" for name, home in amortix._HOMES.items()}


@pytest.mark.parametrize(("folder", "least"), [("python/amortix", 35), ("tests", 15), ("benches", 5)])
def test_python_files_are_short(folder, least):
    for path in found(ROOT / folder, "*.py", least=least):
        lines = len(path.read_text().splitlines())
        assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines: split it by subject"


LEARNED = ("adapters", "predictors", "refiners", "updates", "starts", "learner", "contracts", "objectives", "oracles")
LEARNED += ("likelihoods", "outer")


def test_classes_are_abstract_or_final():
    for cls in classes_of(*LEARNED, least=15):
        final = getattr(cls, "__final__", False)
        assert final != inspect.isabstract(cls), f"{cls.__name__} is neither abstract nor final, or both"
        assert final != cls.__name__.startswith("Abstract"), f"{cls.__name__}: abstract classes say so"


def test_no_concrete_method_is_overridden():
    looked = 0
    for cls in classes_of(*LEARNED, least=15):
        methods = {n for n, v in vars(cls).items() if inspect.isfunction(v) or isinstance(v, property)}
        for base in cls.__mro__[1:-1]:
            theirs = {name for name, value in vars(base).items() if not getattr(value, "__isabstractmethod__", False)}
            again = methods & theirs - {"__init__", "forward"}
            looked += len(methods)
            assert not again, f"{cls.__name__} overrides {again} of {base.__name__}: compose instead"
    assert looked >= 100


def test_nothing_loads_or_runs_code_from_files():
    calls = 0
    for name, path in modules().items():
        assert not tops(path) & SAVES_CODE, f"{name} imports {tops(path) & SAVES_CODE}"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                calls += 1
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "compile", "__import__"}, f"{name} calls {called}"
                assert called not in {"torch.load", "torch.save", "torch.jit.load"}, f"{name} calls {called}"
                unpickles = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("allow_pickle", "False")
                assert unpickles == "False", f"{name} allows pickle in {called}"
    assert calls >= 1000


def test_only_datasets_may_reach_outside():
    reaching = {name for name, path in modules().items() if tops(path) & NETWORK}
    assert reaching == {"datasets"}


def test_no_module_is_imported_by_a_computed_name():
    computing = {name for name, path in modules().items() if "import_module(" in path.read_text()}
    assert computing == {""}


def test_every_compiled_name_has_a_stub_and_a_facade():
    exported = {name for name in dir(_core) if not name.startswith("__")} - {"_core"}
    assert len(exported) >= 10
    stub = ast.parse((PACKAGE / "_core.pyi").read_text())
    declared = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert declared == exported
    (listed,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert set(listed) == exported | {"__version__"}
    used, users = set(), set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_core":
                used.add(node.attr)
                users.add(name.split(".")[0])
    # A class that only methods of used classes hand out is used through them.
    handed = {
        ast.unparse(method.returns)
        for cls in stub.body
        if isinstance(cls, ast.ClassDef) and cls.name in used
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and method.returns
    }
    assert used <= exported <= used | handed
    assert users == {"data", "ops"}


def test_exceptions_raised_in_rust_are_declared():
    sources = found(ROOT / "rust/bindings", "*.rs", least=6)
    text = "\n".join(path.read_text() for path in sources)
    imported = re.findall(r"import_exception!\(amortix\.errors, (\w+)\)", text)
    assert len(imported) >= 4
    raised = set(re.findall(r"(\w+)::new_err", text))
    assert raised == {*imported, "PyKeyboardInterrupt"}
    for name in imported:
        assert issubclass(getattr(errors, name), errors.AmortixError)
    body = (ROOT / "rust/bindings/src/error.rs").read_text()
    variants = set(re.findall(r"^    (\w+)(?:\(|,)", (ROOT / "rust/core/src/error.rs").read_text(), re.MULTILINE))
    assert len(variants) >= 5
    assert set(re.findall(r"\bError::(\w+)", body)) == variants
    assert not re.search(r"\b_ =>", body), "a catch-all arm hides a new variant"


def test_the_core_knows_no_python_and_nothing_is_unsafe():
    core = [*found(ROOT / "rust/core/src", "*.rs", least=15), ROOT / "rust/core/Cargo.toml"]
    for path in core:
        assert not re.search(r"\b(pyo3|numpy)\b", path.read_text()), f"{path} names pyo3 or numpy"
    for path in found(ROOT / "rust", "*.rs", least=22):
        assert not re.search(r"\bunsafe\b", path.read_text()), f"{path} is unsafe"
    attributes = (ROOT / "rust/core/src/lib.rs").read_text()
    assert "#![forbid(unsafe_code)]" in attributes
    assert "#![deny(missing_docs)]" in attributes


def test_versions_and_lints_have_one_place():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert workspace["workspace"]["package"]["version"] == amortix.__version__
    assert workspace["workspace"]["lints"]["rust"]["unsafe_code"] == "forbid"
    for path in found(ROOT / "rust", "Cargo.toml", least=2):
        crate = tomllib.loads(path.read_text())
        assert crate["lints"] == {"workspace": True}
        assert crate["package"]["version"] == {"workspace": True}
        tables = [crate.get("dependencies", {}), crate.get("dev-dependencies", {})]
        versions = [dependency for table in tables for dependency in table.values()]
        assert all(dependency.get("workspace") for dependency in versions), f"{path} states a version"


def test_the_boundary_has_one_door():
    for path in found(ROOT / "rust/bindings/src", "*.rs", least=6):
        text = path.read_text()
        if path.name != "enter.rs":
            assert not re.search(r"\.(detach|allow_threads)\(|Python::attach", text), f"{path}: use `enter`"
        for options in re.findall(r"#\[pyclass(.*?)\]", text):
            assert "frozen" in options, f"{path} has a class that is not frozen"


def test_kernels_are_linked_one_by_one():
    real = {path.name: path for path in found(ROOT / "cuda", "*.cu", least=2)}
    shipped = {path.name: path for path in found(PACKAGE / "ops/kernels", "*.cu", least=2)}
    assert set(real) == set(shipped)
    for name, path in shipped.items():
        assert path.is_symlink(), f"{path} is a copy: link it"
        assert path.resolve() == real[name].resolve()
        # A relative link stays right wherever the repository lies.
        assert not os.path.isabs(path.readlink())
