"""The section `data.also`: a second corpus for a joint task, with targets of its own."""

from typing import Annotated

from pydantic import Field

from prune_ssl.recipes.parts import Part


class SecondCorpus(Part):
    """Another corpus whose clips are trained and judged together with those of `data.path`.

    A clip has the columns that its corpus fills. The other columns are blank: they give no loss and are not
    judged.
    """

    path: str = Field(min_length=1)
    """The folder of the corpus, in any known layout."""
    fills: str
    """The columns of `data.target` that this corpus has, such as speaker."""
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The share of this corpus in training batches, on average. The clips of one corpus are repeated for it.
    None: each clip of both corpora comes equally often."""
