"""JSON of any size of number. Integers are exact in Python; other numbers are if they become `Decimal`s."""

from __future__ import annotations

import json
import re
import uuid
from decimal import Decimal
from typing import Any

_LONGEST_INT = 4000
"""Python refuses to read integers of more than 4300 digits."""


class Json:
    def __init__(self, exact: bool = False) -> None:
        self._parse_float = Decimal if exact else float

    def loads(self, text: str | bytes) -> Any:
        return json.loads(text, parse_float=self._parse_float, parse_int=_parse_int)

    def dumps(self, value: Any) -> bytes:
        # The encoder writes no number that it doesn't know: a text of our own stands in for it, which no
        # text of the caller's can be taken for.
        mark = f"{uuid.uuid4().hex}:"
        found = False

        def number(unknown: Any) -> str:
            nonlocal found
            if isinstance(unknown, Decimal) and unknown.is_finite():
                found = True
                return f"{mark}{unknown}"
            raise TypeError(f"{type(unknown).__name__} can't be written as JSON")

        text = json.dumps(value, default=number, allow_nan=False, separators=(",", ":"))
        return (re.sub(f'"{mark}([^"]*)"', r"\1", text) if found else text).encode()


def _parse_int(text: str) -> int | Decimal:
    return int(text) if len(text) <= _LONGEST_INT else Decimal(text)
