"""What the sections of a recipe have in common, and the small ones."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Part(BaseModel):
    """A section of a recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AugmentPart(Part):
    """Random changes of training clips, anew each time that one is heard; the fields of Augmentation."""

    speeds: tuple[float, ...] = Field(default=(0.9, 1.0, 1.1), min_length=1)
    max_shift_seconds: float = Field(default=0.1, ge=0)
    max_gain_db: float = Field(default=6.0, ge=0)
    noise: str | None = None
    """Folder of noise recordings (MUSAN, DEMAND, one's own); None: white noise."""
    noise_probability: float = Field(default=0.5, ge=0, le=1)
    snr_db: tuple[float, float] = (10.0, 40.0)
    rirs: str | None = None
    """Folder of room impulse responses; None: simulated rooms."""
    reverb_probability: float = Field(default=0.0, ge=0, le=1)
    rt60_seconds: tuple[float, float] = (0.2, 0.8)

    @field_validator("speeds")
    @classmethod
    def _are_positive(cls, speeds: tuple[float, ...]) -> tuple[float, ...]:
        if min(speeds) <= 0:
            raise ValueError(f"found {min(speeds):g}, wanted speeds above 0, such as 0.9, 1.0, 1.1")
        return speeds


class DecodingPart(Part):
    """Task ctc: judge beam search with an n-gram model too (extra `lm`); the fields of BeamSettings."""

    lm: str
    """ARPA file (.arpa, .arpa.gz) of words, as lmplz of KenLM, SRILM or openslr.org/11 have it."""
    beam: int = Field(default=50, ge=1)
    beam_threshold: float = Field(default=50.0, gt=0)
    lm_weight: float = Field(default=2.0, ge=0)
    word_score: float = 0.0


class StreamPart(Part):
    """A corpus that is read as it is trained on, never as a whole; the fields of StreamConfig.

    `data.path` is then a name of the hub, or a folder of Parquet, JSONL, CSV, Arrow or WebDataset files.
    """

    name: str | None = None
    """Configuration of the data set, such as `clean`."""
    data_files: dict[str, str] | None = None
    train: str = "train"
    judged: str = "validation"
    judged_limit: int | None = Field(default=None, ge=1)
    """Judge on so many clips only; None: all of the split. They are held in memory."""
    audio: str = "audio"
    sample: int = Field(default=256, ge=1)
    """Clips of train that are looked at before any training: they must have all labels, or all letters."""
    buffer: int = Field(default=1_000, ge=1)
    """Rows among which the order is drawn."""


class OptimizerPart(Part):
    """AdamW, beside the learning rates of the phases and `weight_decay`."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)


class AboutPart(Part):
    """What a reader wants to know before running a recipe; shown in the table of recipes."""

    data: str = "-"
    method: str = "-"
    paper: str = "-"
    """What the method's paper reports; "-" where it reports nothing comparable."""
    needs: str = "-"
