"""What the house looks like in numbers: sizes, names, folders and imports, read from the code as text."""

import ast
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "genepool_protocol": "protocol",
    "genepool_server": "server",
    "genepool_client": "client",
    "genepool_lab": "lab",
}

VAGUE: Final = frozenset({"found", "one", "made", "done", "answer", "wanted", "kept"})
"""Names that say that there is a value, and not what it is."""

FULL: Final = 15
"""Python files of one folder beyond which it is a heap."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Local:
    """A local variable with a vague name."""

    path: Path
    line: int
    function: str
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.function} names a local {self.name}"


@dataclass(frozen=True)
class House:
    """The packages below a folder; generated stubs are no part of it.

    Attributes:
        root: a checkout of the repository.
    """

    root: Path

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Dotted name -> file."""
        return {
            self._name(folder, path): path
            for package, folder in PACKAGES.items()
            for path in sorted((self.root / folder / package).rglob("*.py"))
            if "_pb2" not in path.name
        }

    def _name(self, folder: str, path: Path) -> str:
        parts = path.relative_to(self.root / folder).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Dotted name -> syntax tree."""
        return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.modules.items()}

    @cached_property
    def lines(self) -> dict[str, int]:
        """Dotted name -> lines."""
        return {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in self.modules.items()}

    @cached_property
    def functions(self) -> list[tuple[str, Function]]:
        """Every function and method, with the module it is in."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return [(name, node) for name, tree in self.trees.items() for node in ast.walk(tree) if isinstance(node, kinds)]

    @cached_property
    def vague(self) -> list[Local]:
        """Locals whose names say nothing, of functions, each with the innermost function it is in."""
        return [
            Local(self.modules[module].relative_to(self.root), node.lineno, function.name, node.id)
            for module, function in self.functions
            for node in own_nodes(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE
        ]

    @property
    def vague_functions(self) -> int:
        """Functions with such a local."""
        return len({(local.path, local.function) for local in self.vague})

    @cached_property
    def classes(self) -> dict[str, list[str]]:
        """Class name -> modules that define one of it."""
        places: dict[str, list[str]] = defaultdict(list)
        for module, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(module)
        return dict(places)

    @property
    def twice(self) -> dict[str, list[str]]:
        """Public class names that several modules define."""
        return {name: places for name, places in self.classes.items() if len(places) > 1 and not name.startswith("_")}

    @cached_property
    def folders(self) -> Counter[Path]:
        """Folder -> Python files in it."""
        return Counter(path.parent.relative_to(self.root) for path in self.modules.values() if path.name[:2] != "__")

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Dotted name -> modules of ours that it imports, wherever the import stands."""
        return {name: self._imported(tree) - {name} for name, tree in self.trees.items()}

    def _imported(self, tree: ast.Module) -> set[str]:
        targets: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                longer = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= longer & self.modules.keys() or {node.module}
        return targets & self.modules.keys()

    @cached_property
    def circles(self) -> list[frozenset[str]]:
        """Folders that import each other, directly or round about."""
        graph: dict[str, set[str]] = defaultdict(set)
        for name, targets in self.imports.items():
            graph[self._room(name)] |= {self._room(target) for target in targets} - {self._room(name)}
        reached = {room: _reachable(graph, room) for room in graph}
        return sorted(
            {
                frozenset({room} | {other for other in rooms if room in reached.get(other, ())})
                for room, rooms in reached.items()
                if room in rooms
            },
            key=sorted,
        )

    def _room(self, name: str) -> str:
        """A folder; of what lies in a package's root, each file is a room of its own."""
        parts = name.split(".")
        is_folder = self.modules[name].name == "__init__.py"
        return name if is_folder or len(parts) == 2 else ".".join(parts[:-1])

    @property
    def deepest(self) -> int:
        """Modules in the longest chain of imports, circles cut at their first repetition."""
        depth: dict[str, int] = {}

        def walk(name: str, above: frozenset[str]) -> int:
            if name not in depth:
                below = self.imports[name] - above
                depth[name] = 1 + max((walk(target, above | {name}) for target in below), default=0)
            return depth[name]

        return max(walk(name, frozenset({name})) for name in self.modules)

    def table(self) -> str:
        """A table in Markdown."""
        sizes = list(self.lines.values())
        lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for _, node in self.functions]
        shipped = [self.root / name for name in ("protocol", "server", "client")]
        product, tests = (sum(map(code_lines, files)) for files in (_python(*shipped), _python(self.root / "tests")))
        full = {str(folder): count for folder, count in self.folders.items() if count > FULL}
        rows = {
            "files": len(sizes),
            "lines of a file, median / most": f"{statistics.median(sizes):.0f} / {max(sizes)}",
            "functions": len(lengths),
            "functions of at most 40 lines": f"{sum(length <= 40 for length in lengths) / len(lengths):.1%}",
            "functions with a vague local": self.vague_functions,
            "public class names used twice": f"{len(self.twice)} of {len(self.classes)}",
            f"folders of more than {FULL} files": ", ".join(f"{name} ({n})" for name, n in full.items()) or "none",
            "circles of folders": "; ".join(" <-> ".join(sorted(circle)) for circle in self.circles) or "none",
            "modules in the deepest chain of imports": self.deepest,
            "lines of tests for one that ships, without docstrings and comments": f"{tests / product:.2f}",
        }
        return "\n".join(["| what | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def code_lines(path: Path) -> int:
    """Lines of a file that are no docstring, comment or empty line."""
    source = path.read_text(encoding="utf-8")
    statements = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr))
    texts = [node for node in statements if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)]
    prose = {line for node in texts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and at not in prose for at, line in lines)


def _python(*folders: Path) -> Iterator[Path]:
    return (path for folder in folders for path in folder.rglob("*.py") if "_pb2" not in path.name)


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """The nodes of a function's body without those of functions inside it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    todo = list(graph[start])
    while todo:
        room = todo.pop()
        if room not in reached:
            reached.add(room)
            todo.extend(graph.get(room, ()))
    return reached
