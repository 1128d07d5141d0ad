"""What the sections of a recipe have in common, and the small ones."""

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Part(BaseModel):
    """A section of a recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
