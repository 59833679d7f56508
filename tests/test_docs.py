"""What is written is true: examples run, the map is the tree, commands exist, numbers come from results files."""

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

import amortix
from amortix.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
MODULES = sorted(m.name for m in pkgutil.walk_packages(amortix.__path__, "amortix.") if m.name != "amortix._core")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [body for name, body in fenced if re.fullmatch(language, name)]


def tracked() -> list[Path]:
    """The files that git keeps, of those that exist."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


def test_there_are_examples():
    assert blocks(README, "python")
    assert blocks(PAGES["docs/prompts.md"], "python")


@pytest.mark.parametrize("name", PAGES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = blocks(PAGES[name], "python")
    for example in examples:
        exec(compile(example, name, "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("name", ["amortix", *MODULES])
def test_doctests_of(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0


def test_enough_modules_have_doctests():
    assert len(MODULES) >= 35
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {name for name in MODULES if any(t.examples for t in finder.find(importlib.import_module(name)))}
    # Where a user starts: the data plane and the main job.
    start = {"tasks", "table", "stream", "pool", "store"}
    assert {f"amortix.data.{name}" for name in start} | {"amortix.adapt", "amortix.testing"} <= names


def mapped_paths() -> list[str]:
    """The paths of README's map: its first text block that starts with a dot or the project's name.

    A line is ``indent name  explanation``, four columns to a level; several names may share a line,
    apart by spaces or ``·``.
    """
    block = next(text for text in blocks(README, "(?:text)?") if "rust/" in text)
    paths: list[str] = []
    above: list[str] = []
    for line in block.splitlines():
        drawn = re.match(r"^([│├└─ ]*)(.*)$", line)
        assert drawn
        level, rest = len(drawn[1]) // 4, drawn[2]
        names = re.split(r" {2,}", rest.strip())[0].split()
        paths += ["/".join([*above[:level], name.rstrip("/")]) for name in names if name not in {".", "·", ""}]
        if names and names[-1].endswith("/"):
            above = [*above[:level], names[-1].rstrip("/")]
    return paths


def test_readme_map_is_the_tree():
    paths = mapped_paths()
    assert len(paths) >= 20
    missing = [path for path in paths if not list(ROOT.glob(path))]
    assert not missing, f"README's map names what is not there: {missing}"
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}
    unnamed = {folder for folder in folders if not folder.startswith(".")} - {path.split("/")[0] for path in paths}
    assert not unnamed, f"README's map lacks {sorted(unnamed)}"
    modules = {path.name for path in (ROOT / "python/amortix").glob("[a-z]*.py")}
    named = {path.split("/")[-1] for path in paths if path.startswith("python/amortix/")}
    assert modules <= named, f"README's map lacks {sorted(modules - named)}"


def make_targets() -> set[str]:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return set(phony.split())


def test_make_help_lists_every_target():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = dict(re.findall(r"^ +make (\S+) +(.+)$", shown, re.MULTILINE))
    assert set(listed) == make_targets()
    assert len(listed) >= 8
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert rules == make_targets()


@pytest.mark.parametrize("name", [*PAGES, "CONTRIBUTING.md", "cuda/README.md", "benches/README.md"])
def test_commands_that_are_named_exist(name):
    text = (ROOT / name).read_text()
    code = "\n".join([*blocks(text, "[a-z]*"), *re.findall(r"`([^`\n]+)`", text)])
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= make_targets()
    commands = get_command(app).commands
    assert len(commands) >= 5
    for line in re.findall(r"(?:^|[\s/])amortix ([a-z]+(?: .*)?)$", code.replace("\\\n", " "), re.MULTILINE):
        command, *words = line.split()
        assert command in commands, f"{name}: `amortix {command}` is no command"
        found = commands[command]
        if inner := getattr(found, "commands", None):
            command = f"{command} {words[0]}"
            assert words[0] in inner, f"{name}: `amortix {command}` is no command"
            found = inner[words[0]]
        options = {option for parameter in found.params for option in parameter.opts}
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given <= options, f"{name}: `amortix {command}` knows no {sorted(given - options)}"
    for module in re.findall(r"python3? -m (amortix[\w.]*)", code):
        assert module in MODULES, f"{name}: there is no {module}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"amortix\[(\w+)\]", code)) <= set(extras)


@pytest.mark.parametrize("name", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "cuda/README.md", "benches/README.md"])
def test_paths_that_are_named_exist(name):
    """Links, and code spans that look like paths of this repository, ``<name>`` standing for anything."""
    home = (ROOT / name).parent
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(), flags=re.MULTILINE | re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (home / link).exists()]
    spans = re.findall(r"`((?:[\w.*<>-]+/)+[\w.*<>-]*)`", text)
    for span in spans:
        pattern = re.sub(r"<\w+>", "*", span).rstrip("/")
        bases = (ROOT, ROOT / "python/amortix", home)
        missing += [span] if not any(list(base.glob(pattern)) for base in bases) else []
    assert not missing, f"{name} names what is not there: {missing}"


def test_contributing_recipes_name_real_files():
    assert len(re.findall(r"^### To add ", CONTRIBUTING, re.MULTILINE)) >= 6


# Spelled in pieces, so that this file does not find itself.
PLACES = ["/" + "root/", "/" + "home/", "/" + "work/", "/" + "tmp/", "/" + "Users/", "local" + "host", "127.0.0" + ".1"]
HOSTS = re.compile(r"https?://([\w.-]+)")
KNOWN_HOSTS = {
    "arxiv.org",
    "asv.readthedocs.io",
    "doi.org",
    "github.com",
    "keepachangelog.com",
    "semver.org",
    "www.apache.org",
}


def test_tracked_files_name_no_machine():
    files, places = tracked(), 0
    assert len(files) >= 90
    for path in files:
        if path.suffix in {".png", ".safetensors"} or path.is_symlink():
            continue
        text = path.read_text()
        places += 1
        here = [place for place in PLACES if place in text]
        assert not here, f"{path.relative_to(ROOT)} names a place on one machine: {here}"
        strange = set(HOSTS.findall(text)) - KNOWN_HOSTS
        assert not strange, f"{path.relative_to(ROOT)} names the hosts {strange}"
    assert places >= 80


def results_tables() -> list[tuple[str, list[str]]]:
    """The pages' measured tables: the results file of each, and its lines below the heading."""
    pattern = r"<!-- results: (\S+) -->\n+((?:\|.*\n?)+)"
    tables = [found for page in PAGES.values() for found in re.findall(pattern, page)]
    return [(name, table.strip().splitlines()[2:]) for name, table in tables]


def numbers_in(value: object) -> list[float]:
    """Every number of a JSON value, at any depth."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return []
    if isinstance(value, int | float):
        return [float(value)]
    inner = value.values() if isinstance(value, dict) else value
    return [number for item in inner for number in numbers_in(item)]


def as_printed(number: float, like: str) -> str:
    """A number at the precision of another that is printed: ``0.8632`` at ``.86`` is ``0.86``."""
    decimals = len(like.partition(".")[2])
    return f"{number:.{decimals}f}"


def test_printed_numbers_come_from_results():
    """Every number of a row is one of the entries of the results file that its first cell names.

    The file is a JSON list of objects, or lines of one object each. The first cell of a row is the ``name`` or
    the ``regime`` of one or more entries; numbers match at the precision that is printed.
    """
    tables = results_tables()
    assert len(tables) >= 2, "a page has lost its measured table with its results file"
    for name, rows in tables:
        path = ROOT / name
        assert path in tracked(), f"{name} is not in the repository"
        text = path.read_text()
        entries = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines()]
        assert len(rows) >= 3, f"the table of {name} is empty"
        for row in rows:
            first, *cells = [cell.strip() for cell in row.strip("|").split("|")]
            label = first.strip("`* ")
            own = [entry for entry in entries if label in {entry.get(key) for key in ("name", "regime", "work")}]
            assert own, f"{name} has no entry named {label!r}"
            known = numbers_in(own)
            printed = [n for cell in cells for n in re.findall(r"[-−]?(?:\d[\d,]*)?\.?\d+", cell)]
            assert printed, f"the row of {label!r} has no number"
            for number in printed:
                plain = number.replace(",", "").replace("−", "-")
                match = any(as_printed(value, plain) == as_printed(float(plain), plain) for value in known)
                assert match, f"a page says {number} for {label!r}, {name} does not"


def test_no_number_beside_a_measured_unit_stands_outside_the_tables():
    """R² and rows per second are measurements: they stand in a table, where the test above finds them."""
    prose = re.sub(r"<!-- results:.*?-->\n+(?:\|.*\n?)+", "", README)
    prose = re.sub(r"^```.*?^```", "", prose, flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"R² (?:of )?[\d.]+|[\d,.]+ rows/s\b", prose)


def test_environment_variables_that_are_named_exist():
    text = "\n".join(path.read_text() for path in (ROOT / "python").rglob("*.py"))
    named = set(re.findall(r"\bAMORTIX_[A-Z_]+", README + CONTRIBUTING))
    assert named <= set(re.findall(r"\bAMORTIX_[A-Z_]+", text))
