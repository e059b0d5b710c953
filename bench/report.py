"""Figures from samples, and the table."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from rows import Row


@dataclass(frozen=True)
class Cell:
    """One row on one loop: costs per round (None: no figure), and ratios to the base's in the same round."""

    costs: list[float | None]
    ratios: list[float]
    note: str = ""  # why there is no figure

    @property
    def figures(self) -> list[float]:
        return [cost for cost in self.costs if cost is not None]

    @property
    def cost(self) -> float | None:
        return median(self.figures) if self.figures else None

    @property
    def spread(self) -> float | None:
        """(largest - smallest) / median"""
        middle = self.cost
        return (max(self.figures) - min(self.figures)) / middle if middle and middle > 0 else None

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None


def quantity(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value:,.0f} B"
    for size, name in ((1e6, "ms"), (1e3, "us")):
        if abs(value) >= size * 9.995:
            return f"{value / size:.1f} {name}"
        if abs(value) >= size:
            return f"{value / size:.2f} {name}"
    return f"{value:.0f} ns" if abs(value) >= 9.95 else f"{value:.1f} ns"


def ratios(base: list[float | None], costs: list[float | None]) -> list[float]:
    """The base's cost divided by ours, for each round that has both."""
    return [b / a for a, b in zip(costs, base, strict=False) if a is not None and b is not None and a > 0]


CELL = 21


def cell(cell: Cell, unit: str, failed: bool = False) -> str:
    if cell.cost is None:
        return ("FAILED" if failed else "-").rjust(9).ljust(CELL)
    ratio = f"{cell.ratio:.2f}" if cell.ratio is not None else ""
    spread = f"±{cell.spread * 50:.0f}%" if cell.spread is not None else ""
    return f"{quantity(cell.cost, unit):>9} {ratio:>6} {spread:<4}"


def header(keys: list[str], width: int) -> str:
    names = [key if len(key) <= CELL else f"{key[:10]}..{key[12 - CELL :]}" for key in keys]
    return "  ".join(["".ljust(width), *(name.rjust(9).ljust(CELL) for name in names)]).rstrip()


def line(row: Row, cells: list[str], width: int) -> str:
    return "  ".join([row.name.ljust(width), *cells]).rstrip()
