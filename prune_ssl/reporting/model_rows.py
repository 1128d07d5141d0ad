"""A comparison of any number of models as plain data for JSON, without any layout."""

from datetime import datetime, timezone

from pydantic import BaseModel, ConfigDict, Field

from prune_ssl.reporting.model import ModelFacts


class ModelRow(BaseModel):
    """One of the models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    facts: ModelFacts
    metric: str = ""
    """The main metric of its run. Empty: it is not known."""
    value: float | None = None
    low: float | None = None
    """The lower end of the 95% interval of `value`."""
    high: float | None = None
    difference: float | None = None
    """`value` minus that of the first model, on the same clips. None: they were not judged on the same."""
    difference_low: float | None = None
    """The lower end of its paired 95% interval."""
    difference_high: float | None = None


class SideBySideData(BaseModel):
    """All data of a comparison, before any layout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    created: str = Field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    reference_seconds: float
    """The audio length of costs that are shown for one length only."""
    models: list[ModelRow]
    """The models. Shares and speed-ups are relative to the first one."""
