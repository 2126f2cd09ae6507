"""Small files and small functions: growth is a decision, not a drift."""

import ast
import statistics
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "deploy_prune"
FILE_LINES, FUNCTION_LINES = 300, 60
FILE_MEDIAN, FUNCTION_P95 = 120, 35


def file_sizes(root):
    return {path.relative_to(root).as_posix(): path.read_text().count("\n") for path in root.rglob("*.py")}


def function_sizes(root):
    """Lines of signature and body; decorators and docstring do not count."""
    sizes = {}
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
                lines = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)
                sizes[f"{path.relative_to(root).as_posix()}:{node.name}:{node.lineno}"] = lines
    return sizes


def too_large(sizes, limit):
    return {name: lines for name, lines in sizes.items() if lines > limit}


def test_no_file_is_too_long():
    assert too_large(file_sizes(PACKAGE), FILE_LINES) == {}


def test_no_function_is_too_long():
    assert too_large(function_sizes(PACKAGE), FUNCTION_LINES) == {}


def test_most_files_and_functions_are_short():
    assert statistics.median(lines for lines in file_sizes(PACKAGE).values() if lines > 5) <= FILE_MEDIAN
    lines = sorted(function_sizes(PACKAGE).values())
    assert lines[int(0.95 * len(lines))] <= FUNCTION_P95


def test_long_ones_are_seen(tmp_path):
    body = "    x = 1\n" * 60
    (tmp_path / "long.py").write_text(f"def f():\n{body}\n\ndef g():\n    '''Doc\n{body}'''\n" + "\n" * 200)
    assert too_large(function_sizes(tmp_path), FUNCTION_LINES) == {"long.py:f:1": 61}
    assert too_large(file_sizes(tmp_path), FILE_LINES) == {"long.py": 326}
