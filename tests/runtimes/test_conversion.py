"""Writers of graphs: what an exporter raises is one line, and the model is as it was afterwards."""

import json
import logging
import warnings
from pathlib import Path

import pytest
import torch

from prune_ssl.errors import ExportError
from prune_ssl.exporting.targets import TARGETS
from prune_ssl.runtimes.conversion import WRITERS, Positional, quiet, write_torchscript
from prune_ssl.runtimes.inputs import example
from tests.support.models import first_output, tiny_model


def test_there_is_a_writer_for_each_kind_of_graph() -> None:
    of_onnx = {name for name in TARGETS if TARGETS[name].file == "model.onnx"}
    assert set(WRITERS) == set(TARGETS) - of_onnx | {"onnx"}


@pytest.mark.parametrize("training", [True, False])
def test_a_failing_exporter_is_one_line_and_leaves_the_model_as_it_was(training: bool) -> None:
    model, level = tiny_model().train(training), logging.root.manager.disable
    words = r"cannot be exported to this target: RuntimeError: first Try another target"
    with pytest.raises(ExportError, match=words) as caught, quiet(model):
        raise RuntimeError("first\nsecond" if not model.training else "in training")
    assert "\n" not in str(caught.value)
    assert model.training is training
    assert logging.root.manager.disable == level


def test_an_error_without_words_has_the_name_of_its_kind() -> None:
    with pytest.raises(ExportError, match="RuntimeError: RuntimeError Try another"), quiet(tiny_model()):
        raise RuntimeError


def test_the_code_of_a_graph_before_the_words_of_an_error_is_left_out() -> None:
    dump = "\n\ndef forward(self, arg0_1):\n    add = arg0_1 + 1\n\nNo number for u0.\nCaused by: (a file)"
    with (
        pytest.raises(ExportError, match=r"RuntimeError: No number for u0\. Try another"),
        quiet(tiny_model()),
    ):
        raise RuntimeError(dump)


def test_our_own_refusals_pass_as_they_are() -> None:
    with pytest.raises(ExportError, match=r"^no, and that is all$"), quiet(tiny_model()):
        raise ExportError("no, and that is all")


def test_advice_of_exporters_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with quiet(tiny_model()), warnings.catch_warnings(record=True) as caught:
        warnings.warn("advice", stacklevel=1)
        logging.getLogger("torch.onnx").warning("more advice")
    assert caught == [] or all(str(each.message) != "more advice" for each in caught)
    assert caplog.messages == []


def test_lines_that_exporters_print_do_not_reach_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet(tiny_model()):
        print("step 1 of 3")
    assert capsys.readouterr().out == ""


def test_tensors_are_given_by_position_and_the_first_output_comes_back() -> None:
    model = tiny_model()
    inputs = example(model, 0.1, 2, masked=True)
    with torch.no_grad():
        found = Positional(model, list(inputs))(*inputs.values())
    assert torch.equal(found, first_output(model, **inputs))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_holds_the_metadata_and_the_model(tmp_path: Path) -> None:
    model, path = tiny_model(), tmp_path / "model.pt"
    inputs = example(model, 0.1, 1, masked=False)
    write_torchscript(model, inputs, path, {"version": "1", "name": "tiny"})
    extra = {"prune_ssl.json": ""}
    loaded = torch.jit.load(path, _extra_files=extra)
    assert json.loads(extra["prune_ssl.json"]) == {"version": "1", "name": "tiny"}
    longer = example(model, 0.25, 2, masked=False, seed=5)
    with torch.no_grad():
        found = loaded(*longer.values())
    torch.testing.assert_close(found, first_output(model, **longer), rtol=1e-4, atol=1e-5)
