"""Rows of figures, and the one table they end in."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

COLUMNS: Final = (
    "measured",
    "unit",
    "runs",
    "median",
    "p95",
    "beside it",
    "its median",
    "difference",
    "ratio",
    "target",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured.

    `limit` is the most that the median may be; with `bounds` the most that it adds to the floor's median, how many
    times the floor's median it may be, or the least that the median of a rate must be.
    """

    name: str
    unit: str
    samples: Sequence[float]
    floor: Sequence[float] = ()
    floor_name: str = ""
    limit: float | None = None
    bounds: Literal["median", "difference", "ratio", "least"] = "median"

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)

    @property
    def p95(self) -> float:
        """The smallest sample that 95 % do not exceed. For a rate, where more is better, its opposite."""
        ordered = sorted(self.samples, reverse=self.unit.endswith("/s"))
        return ordered[math.ceil(0.95 * len(ordered)) - 1]

    @property
    def floor_median(self) -> float | None:
        """The middle of the floor's samples; None without a floor."""
        return statistics.median(self.floor) if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.limit is None:
            return None
        if self.bounds == "least":
            return self.median >= self.limit
        floor = self.floor_median or 0
        values = {"median": self.median, "difference": self.median - floor, "ratio": self.median / (floor or 1)}
        return values[self.bounds] < self.limit

    def cells(self) -> list[str]:
        """Return it as the table shows it."""
        floor = self.floor_median
        target = ""
        if self.limit is not None:
            what = self._bound(self.limit)
            target = f"{what}: {'met' if self.met else 'MISSED'}"
        return [
            self.name,
            self.unit,
            str(len(self.samples)),
            number(self.median),
            number(self.p95) if len(self.samples) > 1 else "",
            self.floor_name,
            "" if floor is None else number(floor),
            "" if floor is None else f"{self.median - floor:+.{_digits(self.median - floor)}f}",
            "" if not floor else f"{self.median / floor:.2f}",
            target,
        ]

    def _bound(self, limit: float) -> str:
        if self.bounds == "least":
            return f"≥ {limit:g}"
        if self.bounds == "difference":
            return f"adds < {limit:g}" if limit else "less"
        if self.bounds == "ratio":
            return f"< {limit:g} times"
        return f"< {limit:g}"

    def to_mapping(self) -> dict[str, Any]:
        """Return everything about it, for machines."""
        figures = {"median": self.median, "p95": self.p95, "floor_median": self.floor_median, "met": self.met}
        return asdict(self) | figures


def number(value: float) -> str:
    """Return a figure with as many digits as mean something."""
    return f"{value:.{_digits(value)}f}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, aligned for people."""
    return aligned([list(COLUMNS), *(row.cells() for row in rows)], frozenset({0, 1, 5, 9}))


def aligned(cells: Sequence[Sequence[str]], left: frozenset[int]) -> str:
    """Return lines of cells as a Markdown table. The first line is its head; columns outside of `left` hold numbers."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]

    def shown(line: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * width if column in left else "-" * (width - 1) + ":") for column, width in enumerate(widths)]
    return "\n".join([shown(cells[0]), shown(rule), *(shown(line) for line in cells[1:])])


def _digits(value: float) -> int:
    magnitude = abs(value)
    return 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 0.1 else 3
