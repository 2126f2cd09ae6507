"""Tables in documents, between markers that name the script which writes them; no number is typed by hand."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def fill(document: str, name: str, script: str, section: str) -> None:
    """Replace what stands between the markers of ``name`` in a document of the project."""
    path = ROOT / document
    begin, end = f"<!-- {name}: begin, written by benchmarks/{script} -->", f"<!-- {name}: end -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{document} lacks the markers {begin} and {end}")
    path.write_text(f"{before}{begin}\n{section}\n{end}{after}", encoding="utf-8")
