"""The groups of a model as a picture in text: Mermaid, which GitHub renders, or DOT for Graphviz.

A box is a layer, a frame holds the layers whose output channels are one group, a dashed frame those whose channels
stay. Arrows go to each layer that uses a group's channels, from those of its makers that ran since the use before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy_prune.errors import InputError
from deploy_prune.report.inspection import FrozenEntry, GroupEntry, Inspection


@dataclass(frozen=True)
class Frame:
    """A group of channels and the layers that make them."""

    title: str
    frozen: bool
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """Frames, arrows (maker, user) and the class of every layer."""

    frames: tuple[Frame, ...]
    arrows: tuple[tuple[str, str], ...]
    kinds: dict[str, str]


def drawer(path: Path) -> Callable[[Inspection], str]:
    """What draws an inspection in the format of the file's suffix.

    Raises:
        InputError: there is no such format.
    """
    formats = {".mmd": to_mermaid, ".dot": to_dot}
    if path.suffix not in formats:
        raise InputError(
            f"{path} is no file for a graph; expected .mmd (Mermaid) or .dot (Graphviz, which makes SVG and PNG of it: "
            "dot -Tsvg)"
        )
    to_text = formats[path.suffix]
    return lambda inspection: to_text(arrange(inspection))


def arrange(inspection: Inspection) -> Picture:
    """Put every layer into the first frame that claims it; heads, which only overlap channels, have no frame."""
    order = {layer.name: k for k, layer in enumerate(inspection.layers)}
    entries: list[GroupEntry | FrozenEntry] = [group for group in inspection.groups if group.kind == "channels"]
    frames: list[Frame] = []
    arrows: set[tuple[str, str]] = set()
    lone = dict.fromkeys(order)
    for entry in (*entries, *inspection.frozen):
        makers = sorted({m.layer for m in entry.members if m.makes}, key=order.__getitem__)
        users = sorted({m.layer for m in entry.members if m.uses}, key=order.__getitem__)
        arrows.update(_flow(makers, users, order))
        own = tuple(name for name in makers if name in lone)
        if own:
            frames.append(Frame(_title(entry), isinstance(entry, FrozenEntry), own))
        for name in own:
            del lone[name]
    others = tuple(name for name in lone if any(name in arrow for arrow in arrows))
    if others:
        frames.append(Frame("other layers", True, others))
    kinds = {layer.name: layer.kind for layer in inspection.layers}
    return Picture(tuple(frames), tuple(sorted(arrows, key=lambda arrow: tuple(order[name] for name in arrow))), kinds)


def to_mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flow chart."""
    number = _numbers(picture)
    lines = ["flowchart TB"]
    for k, frame in enumerate(picture.frames):
        lines.append(f'  subgraph g{k}["{_quoted(frame.title, "#quot;")}"]')
        lines += [f'    n{number[n]}["{_quoted(n, "#quot;")}<br/>{picture.kinds[n]}"]' for n in frame.layers]
        lines.append("  end")
    lines += [f"  n{number[maker]} --> n{number[user]}" for maker, user in picture.arrows]
    lines += [f"  style g{k} stroke-dasharray: 5 5" for k, frame in enumerate(picture.frames) if frame.frozen]
    return "\n".join(lines) + "\n"


def to_dot(picture: Picture) -> str:
    """The picture as a Graphviz digraph."""
    number = _numbers(picture)
    lines = ["digraph groups {", "  node [shape=box];"]
    for k, frame in enumerate(picture.frames):
        style = "dashed" if frame.frozen else "rounded"
        lines.append(f'  subgraph cluster_{k} {{ label="{_quoted(frame.title)}"; style={style};')
        lines += [f'    n{number[n]} [label="{_quoted(n)}\\n{picture.kinds[n]}"];' for n in frame.layers]
        lines.append("  }")
    lines += [f"  n{number[maker]} -> n{number[user]};" for maker, user in picture.arrows]
    return "\n".join([*lines, "}"]) + "\n"


def _flow(makers: Sequence[str], users: Sequence[str], order: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """To each user from the makers that ran since the one before, or else from those that it had."""
    sources, used = makers[-1:], -1
    for user in users:
        sources = [name for name in makers if used <= order[name] < order[user]] or sources
        yield from ((name, user) for name in sources if name != user)
        used = order[user]


def _title(entry: GroupEntry | FrozenEntry) -> str:
    if isinstance(entry, FrozenEntry):
        return f"{entry.name}: {entry.width} channels stay, {entry.reason}"
    return f"{entry.name}: {entry.width} channels, {entry.macs_share:.1%} of MACs"


def _numbers(picture: Picture) -> dict[str, int]:
    return {name: k for k, name in enumerate(name for frame in picture.frames for name in frame.layers)}


def _quoted(text: str, quote: str = r"\"") -> str:
    return text.replace('"', quote)
