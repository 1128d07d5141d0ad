"""The commands `transcribe`, `classify` and `verify` print one line for each file."""

from pathlib import Path

import pytest

from prune_ssl.cli.infer import Search
from prune_ssl.tasks import inference
from tests.support.cli import run_cli

HERE = Path("a b.wav")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What the functions behind the commands were given; their answers are made up."""
    calls: list[tuple[object, ...]] = []
    answers = {
        "transcribe": [(HERE, "hello world")],
        "classify": [(HERE, {"yes": 0.75, "no": 0.2})],
        "verify": [(HERE, 0.5), (Path("c\nd.wav"), -0.25)],
    }
    for name, answer in answers.items():
        monkeypatch.setattr(
            inference, name, lambda *given, name=name, answer=answer: calls.append((name, *given)) or answer
        )
    return calls


def test_transcripts_stand_behind_their_files(asked) -> None:
    result = run_cli("transcribe", "model", "a b.wav")
    assert (result.exit_code, result.stdout) == (0, "a b.wav\thello world\n")
    assert asked == [("transcribe", "model", [HERE], None, False)]


def test_a_language_model_means_a_beam_search(asked) -> None:
    assert (
        run_cli(
            "transcribe", "model", "x.wav", "--lm", "a.arpa", "--beam", "7", "--lm-weight", "1.5"
        ).exit_code
        == 0
    )
    (_, _, _, settings, _) = asked[0]
    assert (settings.lm, settings.beam, settings.lm_weight) == (Path("a.arpa"), 7, 1.5)
    assert Search(beam=9).settings is None


def test_labels_have_their_shares(asked) -> None:
    result = run_cli("classify", "model", "a b.wav", "--best", "2", "--allow-pickle")
    assert result.stdout == "a b.wav\tyes 75.0%\tno 20.0%\n"
    assert asked == [("classify", "model", [HERE], 2, True)]


@pytest.mark.parametrize(
    ("options", "verdicts"), [((), ["", ""]), (("--threshold", "0.5"), ["\tsame", "\tdifferent"])]
)
def test_scores_have_a_verdict_where_there_is_a_threshold(asked, options, verdicts: list[str]) -> None:
    result = run_cli("verify", "model", "ref.wav", "a b.wav", "x.wav", *options)
    assert result.stdout.splitlines() == [f"a b.wav\t0.500{verdicts[0]}", f"c\\nd.wav\t-0.250{verdicts[1]}"]
    assert asked[0][2] == Path("ref.wav")


def test_a_folder_stands_for_the_audio_files_in_and_below_it(asked, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.wav", "b/c.FLAC", "notes.txt")]
    (tmp_path / "b").mkdir()
    for file in files:
        file.touch()
    run_cli("transcribe", "model", "first.wav", tmp_path)
    assert asked[0][2] == [Path("first.wav"), *files[:2]]


@pytest.mark.parametrize("command", [("transcribe",), ("classify",), ("verify", "ref.wav")])
def test_a_folder_without_audio_is_refused(asked, tmp_path: Path, command) -> None:
    name, *reference = command
    result = run_cli(name, "model", *reference, tmp_path)
    assert result.exit_code == 2
    assert "this folder holds no audio file (.aif, .aiff," in " ".join(result.output.split())
