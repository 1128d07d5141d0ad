"""The bar of a training: its phase, and where the budget stands."""

from types import SimpleNamespace

import pytest
from transformers import PrinterCallback, ProgressCallback
from transformers.trainer_callback import CallbackHandler

from prune_ssl.training.progress import BudgetProgress, PlainProgress, close_bars, use_budget_progress


class Bar:
    """A bar that notes what it shows."""

    def __init__(self) -> None:
        self.shown: list[object] = []
        self.closed = False

    def set_postfix(self, shown: dict[str, str]) -> None:
        self.shown.append(shown)

    def set_description(self, words: str) -> None:
        self.shown.append(words)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> BudgetProgress:
    def begin(self, args, state, control, **kwargs) -> None:
        self.training_bar = Bar()

    monkeypatch.setattr(ProgressCallback, "on_train_begin", begin)
    made = BudgetProgress("pruning")
    made.on_train_begin(None, None, None)
    return made


def test_the_bar_has_the_name_of_its_phase(progress: BudgetProgress) -> None:
    assert progress.training_bar.shown == ["pruning"]


def test_loss_and_budget_stand_behind_the_bar(progress: BudgetProgress) -> None:
    logs = {"loss": 1.23456, "expected_macs": 0.712, "target_macs": 0.6, "learning_rate": 1e-3}
    progress.on_log(None, None, None, logs=logs)
    assert progress.training_bar.shown[-1] == {"loss": "1.235", "macs": "71% (target 60%)"}
    progress.on_log(None, None, None, logs={"learning_rate": 1.0})
    progress.on_log(None, None, None, logs=None)
    assert len(progress.training_bar.shown) == 2


def test_an_error_closes_all_bars(progress: BudgetProgress) -> None:
    bars = progress.training_bar, Bar()
    progress.prediction_bar = bars[1]
    close_bars()
    assert all(bar.closed for bar in bars)
    assert progress.training_bar is progress.prediction_bar is None
    close_bars()
    progress.on_log(None, None, None, logs={"loss": 1.0})


def test_an_evaluation_has_a_name_too(progress: BudgetProgress, monkeypatch: pytest.MonkeyPatch) -> None:
    def move_on(self, *args, **kwargs) -> None:
        self.prediction_bar = self.prediction_bar or Bar()

    monkeypatch.setattr(ProgressCallback, "on_prediction_step", move_on)
    progress.on_prediction_step(None, None, None)
    progress.on_prediction_step(None, None, None)
    assert progress.prediction_bar.shown == ["evaluation"]


def test_a_file_gets_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    made = PlainProgress("pruning")
    state = SimpleNamespace(global_step=0, max_steps=40, is_world_process_zero=True)
    made.on_train_begin(None, state, None)
    for state.global_step in range(1, 41):
        made.on_log(None, state, None, logs={"loss": 0.5, "expected_macs": 0.712, "target_macs": 0.6})
        made.on_log(None, state, None, logs={"eval_runtime": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "pruning: step 4 of 40, loss 0.500, macs 71% (target 60%), 0:00 left"
    assert lines[-1] == "pruning: step 40 of 40, loss 0.500, macs 71% (target 60%)"


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("silent", [True, False])
def test_a_trainer_gets_the_bar_unless_it_is_silent(
    silent: bool, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    shown = CallbackHandler([ProgressCallback, PrinterCallback], None, None, None, None)
    trainer = SimpleNamespace(
        args=SimpleNamespace(disable_tqdm=silent),
        remove_callback=shown.remove_callback,
        add_callback=shown.add_callback,
        title="",
    )
    for phase in ("dense", "recovery"):  # the second phase must not show each line twice
        use_budget_progress(trainer, phase)
        kinds = (ProgressCallback, PrinterCallback, PlainProgress)
        found = [each for each in shown.callbacks if isinstance(each, kinds)]
        wanted = ProgressCallback if silent else BudgetProgress if terminal else PlainProgress
        assert [type(each) for each in found] == [wanted]
        assert trainer.title == phase
        assert silent or found[0].phase == phase
