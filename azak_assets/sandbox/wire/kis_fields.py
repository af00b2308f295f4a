"""How the broker's services read a query, and write days and changes.

Belongs here: what several of its services share. Does not belong here: what one service answers (`kis_quotations`,
`kis_quotes`, `kis_after_close`, `kis_company`).
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from azak_assets import krx

Row = dict[str, str]
Service = Callable[[Mapping[str, str]], dict[str, Any]]
"""A service of the gateway: from a query to its part of the envelope. Raises RefusedError."""


class RefusedError(Exception):
    """A business error of a quotation service: HTTP 200 with rt_cd 1."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def day_of(query: Mapping[str, str], name: str) -> date:
    """The day that a field asks for."""
    try:
        return datetime.strptime(query[name], "%Y%m%d").replace(tzinfo=krx.KST).date()
    except KeyError:
        raise RefusedError("OPSQ2001", f"ERROR : INPUT FIELD NOT FOUND [{name}]") from None
    except ValueError:
        raise RefusedError("OPSQ2001", f"ERROR : INVALID INPUT_FIELD [{name}]") from None


def field_of(query: Mapping[str, str], name: str, *allowed: str) -> str:
    """The text of a field, one of `allowed` where there are some."""
    value = query.get(name)
    if value is None:
        raise RefusedError("OPSQ2001", f"ERROR : INPUT FIELD NOT FOUND [{name}]")
    if allowed and value not in allowed:
        raise RefusedError("OPSQ2001", f"ERROR : INVALID {name}")
    return value


def change_of(close: float, before: float, form: str) -> tuple[str, str, str]:
    """Change, its sign code and its percentage against the base; a first bar has none."""
    change = close - before if before else 0
    sign = "3" if change == 0 else "2" if change > 0 else "5"
    return format(change, form), sign, f"{100 * change / before if before else 0:.2f}"


def stamp(day: date) -> str:
    """The day as the broker writes it."""
    return f"{day:%Y%m%d}"
