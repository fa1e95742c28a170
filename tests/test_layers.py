"""A module imports only from rooms listed before its own."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "isoflop"
ROOMS = [
    "units", "tables", "law", "laws", "cost", "fit", "forecast", "plan", "knowing",
    "figures", "page", "sources", "lab", "check", "cli", "__main__",
]  # fmt: skip
HEAVY = {"torch": {"lab"}, "safetensors": {"lab"}, "tokenizers": {"lab"}}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Absolute names of all modules a file imports, relative imports resolved."""
    found = []
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(parts[: len(parts) - node.level]) if node.level else []
            head = ".".join([*base, node.module] if node.module else base)
            found += [f"{head}.{alias.name}" for alias in node.names]
    return found


def test_a_module_imports_only_from_rooms_above_it():
    faults = []
    for path in sorted(PACKAGE.rglob("*.py")):
        here = room(path)
        if here == "__init__":
            continue
        assert here in ROOMS, f"{path} is in no room of the list"
        for name in imported(path):
            parts = name.split(".")
            if parts[0] in HEAVY and here not in HEAVY[parts[0]]:
                faults.append(f"{path.name} imports {name}, which only {HEAVY[parts[0]]} may")
            if parts[0] != "isoflop" or len(parts) == 1 or parts[1] not in ROOMS:
                continue
            if ROOMS.index(parts[1]) > ROOMS.index(here):
                faults.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert faults == []


def test_importing_isoflop_loads_numpy_only():
    code = "import sys, isoflop; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    outside = set(loaded) - sys.stdlib_module_names - {"isoflop", "numpy"}
    outside = {name for name in outside if not name.startswith("_")}
    assert outside <= {"sitecustomize", "distutils-precedence"}, outside
