"""A law with some of its coefficients held at given values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from isoflop.law import Law


def pin(law: Law, **values: float) -> Law:
    """The same law with these coefficients fixed: a floor, a measured start, a published base.

    Its remaining coefficients are searched in their own scale, without the law's coordinates.
    Raises ValueError for a coefficient that the law does not have or whose box excludes the value.
    """
    boxes = {p.name: p for p in law.params}
    for name, value in values.items():
        if name not in boxes:
            raise ValueError(f"law {law.name!r} has no {name!r}; it has {', '.join(law.names)}")
        if not boxes[name].low <= value <= boxes[name].high:
            raise ValueError(
                f"{name} = {value:g} lies outside the box of law {law.name!r}, "
                f"{boxes[name].low:g} to {boxes[name].high:g}"
            )
    held = {name: np.asarray(value, dtype=float) for name, value in values.items()}

    def formula(p: Mapping, x: Mapping):
        return law.formula({**p, **held}, x)

    said = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    return replace(
        law,
        formula=formula,
        params=tuple(p for p in law.params if p.name not in values),
        published=(),
        fast=None,
        note=f"{law.note} With {said}.".strip(),
    )
