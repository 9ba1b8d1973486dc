"""Units of measurement, by the names that pint knows: `degC`, `kPa`, `mm/s`, `percent`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pint import UnitRegistry


class UnitError(ValueError):
    """A unit is unknown, or is of another dimension than the one wanted."""


def check_unit(unit: str) -> str:
    """The unit itself; raises `UnitError` where there is none of that name."""
    conversion(unit, unit)
    return unit


@lru_cache(maxsize=10_000)
def conversion(unit: str, wanted: str) -> tuple[float, float]:
    """`(factor, offset)` of `wanted = unit * factor + offset`; raises `UnitError`."""
    import pint

    quantity = _registry().Quantity
    try:
        zero, one, ten = (float(quantity(value, unit).to(wanted).magnitude) for value in (0.0, 1.0, 10.0))
    except pint.DimensionalityError:
        raise UnitError(f"{unit[:32]!r} cannot be converted to {wanted}") from None
    except Exception:  # pint's parser evaluates the text; what that raises depends on the text
        raise UnitError(f"{unit[:32]!r} is not a unit: write one as {wanted or 'degC'}") from None
    factor = one - zero
    if abs(zero + 10 * factor - ten) > 1e-9 * max(1.0, abs(ten)):
        raise UnitError(f"{unit[:32]!r} is not linear in {wanted}")
    return factor, zero


@lru_cache(maxsize=1)
def _registry() -> UnitRegistry:
    import pint

    return pint.UnitRegistry()
