"""How the exchange writes the short code of a listed share.

Belongs here: the shape of a code. Does not belong here: which codes are listed (that is the universe, `raw.stocks`).
"""

import re

# Codes issued since 2024-01-01 may carry one capital letter in fifth place, never I, O or U (0126Z0); the sixth is a
# letter on some preferred shares (00088K).
_STOCK_CODE = re.compile(r"[0-9]{4}[0-9A-HJ-NP-TV-Z][0-9A-Z]")


def is_stock_code(text: str) -> bool:
    """Whether this text has the shape of a KRX share code: six characters, leading zeros kept, capitals only."""
    return _STOCK_CODE.fullmatch(text) is not None
