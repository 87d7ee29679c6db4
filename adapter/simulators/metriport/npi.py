"""National Provider Identifiers: ten digits, the last a Luhn check digit over the prefix 80840 and the others."""

from __future__ import annotations

import re
from typing import Final

_TEN_DIGITS: Final = re.compile(r"[12][0-9]{9}")


def made(number: int) -> str:
    """The NPI of a running number."""
    nine = f"{100_000_000 + number:09d}"
    return f"{nine}{_check_digit(nine)}"


def is_valid(value: str) -> bool:
    """Whether it is an NPI with the right check digit."""
    return bool(_TEN_DIGITS.fullmatch(value)) and _check_digit(value[:9]) == int(value[9])


def _check_digit(nine: str) -> int:
    digits = [int(digit) for digit in "80840" + nine]
    doubled = [digit * 2 if index % 2 == 0 else digit for index, digit in enumerate(reversed(digits))]
    return -sum(sum(divmod(digit, 10)) for digit in doubled) % 10
