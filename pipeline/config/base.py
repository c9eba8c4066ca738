"""What every section of the configuration is made of."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(value: Any) -> Any:
    """'512MB', '4GB', '178M' or a number -> int. Decimal units; anything else is left to pydantic."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)B?\s*", value, re.IGNORECASE)
        if not match:
            raise ValueError(f"expected a size such as 512MB, got {value!r}")
        return int(float(match[1]) * _UNITS[match[2].upper()])
    return value


Size = Annotated[int, BeforeValidator(parse_size)]


class Strict(BaseModel):
    """Every section of the configuration: frozen, no unknown key."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ComponentConfig(BaseModel):
    """`{name: ..., option: ...}`: the options are checked against the component's own `Options`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the name."""
        return dict(self.model_extra or {})
