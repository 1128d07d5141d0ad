"""The choice between integer forms: what was asked for, the better one, and a form that cannot be made."""

from pathlib import Path

import pytest

from prune_ssl.errors import DataError, ExportError
from prune_ssl.exporting import TARGETS, integers
from prune_ssl.exporting.integers import write_integers
from prune_ssl.exporting.judged import Made
from prune_ssl.exporting.targets import BEST, KINDS
from prune_ssl.runtimes.registry import DYNAMIC, STATIC
from prune_ssl.writing import write_text
from tests.support.models import tiny_model


class Corpus:
    def __init__(self, int8: str, best: str = STATIC) -> None:
        self.int8, self.best = int8, best

    def calibration(self, made):
        yield {}

    def better(self, made, files):
        assert list(files) == [DYNAMIC, STATIC]
        return self.best, "so it is"


@pytest.fixture
def made(tmp_path, monkeypatch) -> Made:
    def static(source, path, clips):
        assert list(clips) == [{}]
        write_text(path, STATIC)

    monkeypatch.setattr(integers, "quantise_dynamic", lambda source, path: write_text(path, DYNAMIC))
    monkeypatch.setattr(integers, "quantise_static", static)
    return Made(TARGETS["onnx-int8"], tmp_path, tmp_path / "model.onnx", tiny_model(), False)


@pytest.mark.parametrize("best", [DYNAMIC, STATIC])
@pytest.mark.parametrize("int8", [*KINDS, None])
def test_the_form_that_was_asked_for_is_written_and_of_both_the_better(made, tmp_path, int8, best) -> None:
    kind, why = write_integers(tmp_path / "whole.onnx", made, None if int8 is None else Corpus(int8, best))
    assert kind == {BEST: best, None: DYNAMIC}.get(int8, int8)
    assert made.file.read_text() == kind
    assert why.startswith(f"{kind} integers (matrix products")
    assert why.endswith("so it is" if int8 == BEST else "no other form was made")


def test_static_integers_that_cannot_be_made_leave_dynamic_ones_unless_they_were_asked_for(
    made, tmp_path, monkeypatch
) -> None:
    def static(source: Path, path: Path, clips: object) -> None:
        raise DataError("no folder train/ in it")

    monkeypatch.setattr(integers, "quantise_static", static)
    kind, why = write_integers(tmp_path / "whole.onnx", made, Corpus(BEST))
    assert (kind, why.partition(": ")[2]) == (DYNAMIC, "static ones cannot be made: no folder train/ in it")
    with pytest.raises(DataError, match="no folder train"):
        write_integers(tmp_path / "whole.onnx", made, Corpus(STATIC))


def test_what_the_quantiser_raises_is_one_line() -> None:
    from prune_ssl.runtimes.quantising import _one_line

    with pytest.raises(ExportError, match=r"cannot be made \(first second\)") as caught, _one_line(STATIC):
        raise ValueError("first\nsecond")
    assert "\n" not in str(caught.value)
