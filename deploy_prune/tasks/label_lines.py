"""What may stand in a label file of Ultralytics' format, by task. Nothing is read from a disk here."""

from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 0.01  # how far outside of [0, 1] Ultralytics, too, takes a coordinate for rounding
BOX = 4  # x y w h


@dataclass(frozen=True)
class LabelFormat:
    """The lines of a data set's label files: a class, then a box, a polygon, or a box with keypoints.

    Attributes:
        task: one of ``KINDS`` but ``classify``, which has no label files.
        classes: how many the data set has.
        keypoints: how many of how many values each (2: x y, 3: x y visibility); (0, 0) if there are none.
    """

    task: str
    classes: int
    keypoints: tuple[int, int] = (0, 0)

    @property
    def expected(self) -> str:
        """The columns of a line, in words."""
        count, values = self.keypoints
        return {
            "detect": "5 (class x y w h)",
            "segment": "a class and at least 3 points x y",
            "obb": "9 (class x1 y1 x2 y2 x3 y3 x4 y4)",
            "pose": f"{5 + count * values} (class x y w h and {count} keypoints of {values} values)",
        }[self.task]

    def find_fault(self, text: str) -> str | None:
        """Return what is wrong with the first faulty line of a label file, its number first; None if nothing is."""
        kinds = set()
        for number, line in enumerate(text.splitlines(), 1):
            if fields := line.split():
                if fault := self._find_fault_of_line(fields):
                    return f"line {number}: {fault}"
                kinds.add(len(fields) > 1 + BOX)
                if self.task == "detect" and len(kinds) > 1 and not any(self.keypoints):
                    return f"line {number}: a box and a polygon in one file; expected boxes alone"
        return None

    def _find_fault_of_line(self, fields: Sequence[str]) -> str | None:
        try:
            values = [float(field) for field in fields]
        except ValueError:
            return f"{' '.join(fields)[:40]!r} is not a row of numbers; expected {self.expected}"
        if not self._fits(len(values)):
            return f"{len(values)} columns; expected {self.expected}"
        if not (values[0].is_integer() and 0 <= values[0] < self.classes):
            return f"class {fields[0]}; the data set has classes 0 to {self.classes - 1}"
        for value in self._coordinates(values):
            if not -TOLERANCE <= value <= 1 + TOLERANCE:
                return f"coordinate {value:g}; expected a share of the picture's width or height, 0 to 1"
        return None

    def _fits(self, columns: int) -> bool:
        count, values = self.keypoints
        if self.task == "pose":
            return columns == 1 + BOX + count * values
        polygon = columns % 2 == 1 and columns >= {"detect": 7, "segment": 7, "obb": 9}[self.task]
        if self.task != "detect":
            return polygon
        return polygon or columns in (1 + BOX, 1 + BOX + count * values)  # a box is made of a polygon, too

    def _coordinates(self, values: Sequence[float]) -> Sequence[float]:
        count, size = self.keypoints
        if not count or len(values) != 1 + BOX + count * size:
            return values[1:]
        points = [value for first in range(1 + BOX, len(values), size) for value in values[first : first + 2]]
        return [*values[1 : 1 + BOX], *points]
