"""Trial lists as people have them: read as they are meant, or one error with the line."""

import os
from pathlib import Path

import pytest

from prune_ssl.data import Trial, find_trials, read_trials
from prune_ssl.errors import DataError

MEANT = [("a b/1.wav", "ä.wav", True), ("a b/1.wav", "x,y.wav", False)]
PLAIN = [("a/1.wav", "a/2.wav", True), ("a/1.wav", "b/1.wav", False)]

READ = {
    "VoxCeleb": ("veri_test2.txt", "1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n", PLAIN),
    "words": ("t.txt", "target a/1.wav a/2.wav\nnontarget  a/1.wav  b/1.wav\n", PLAIN),
    "Kaldi": ("trials", "a/1.wav a/2.wav target\na/1.wav b/1.wav nontarget\n", PLAIN),
    "tabs": ("t.tsv", "1\ta b/1.wav\tä.wav\n0\ta b/1.wav\tx,y.wav\n", MEANT),
    "commas": ("t.csv", "1,a/1.wav,a/2.wav\n0,a/1.wav,b/1.wav\n", PLAIN),
    "a table": ("t.csv", 'same_speaker,file_2,file_1\n1,ä.wav,a b/1.wav\n0,"x,y.wav",a b/1.wav\n', MEANT),
    "a table of tabs": ("t.tsv", "file_1\tfile_2\tsame_speaker\na b/1.wav\tä.wav\tTrue\n"
                        "a b/1.wav\tx,y.wav\tFalse\n", MEANT),
    "a table of semicolons": ("t.csv", "File_1;File_2;Same_Speaker\na b/1.wav;ä.wav;1.0\n"
                              "a b/1.wav;x,y.wav;0.0\n", MEANT),
    "the index of pandas": ("t.csv", ",file_1,file_2,same_speaker\n0,a/1.wav,a/2.wav,1\n"
                            "1,a/1.wav,b/1.wav,0\n", PLAIN),
    "Windows, with a mark": ("t.txt", "\ufeff1 a/1.wav a/2.wav\r\n\r\n0 a/1.wav b/1.wav\r\n", PLAIN),
    "a pair twice": ("t.txt", "1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n" "1 a/1.wav a/2.wav\n",
                     [*PLAIN, PLAIN[0]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list_is_read_as_it_is_meant(tmp_path: Path, kind: str, encoding: str) -> None:
    name, text, meant = READ[kind]
    (tmp_path / name).write_bytes(text.encode(encoding))
    wanted = tuple(Trial(tmp_path / one, tmp_path / other, same) for one, other, same in meant)
    assert find_trials(tmp_path, name) == wanted


def test_names_of_voxceleb_are_below_wav_unless_they_are_not(tmp_path: Path) -> None:
    (tmp_path / "wav" / "a").mkdir(parents=True)
    path = tmp_path / "veri_test.txt"
    path.write_text("1 a/1.wav a/2.wav\n0 a/1.wav b/1.wav\n")
    assert read_trials(path, tmp_path)[0].first == tmp_path / "wav" / "a" / "1.wav"
    path.write_text("1 wav/a/1.wav wav/a/2.wav\n0 wav/a/1.wav wav/b/1.wav\n")
    (tmp_path / "wav" / "a" / "1.wav").touch()
    assert read_trials(path, tmp_path)[0].first == tmp_path / "wav" / "a" / "1.wav"


REFUSED = {
    "empty": (b"\n \n", "it lists no trials"),
    "header only": (b"file_1,file_2,same_speaker\n", "it lists no trials"),
    "a field less": (b"1 a b\n0 a c\n\n1 a\n", "line 4: trial 3 is '1 a': wanted"),
    "a field more": (b"1 a b\n0 a c d\n", "line 2: trial 2 is '0 a c d'"),
    "a space in a name": (b"1 a b\n0 a c d.wav\n", "line 2"),
    "a verdict that is none": (b"1 a b\n2 a c\n", "line 2: trial 2 is '2 a c'"),
    "a verdict missing": (b"file_1,file_2,same_speaker\na,b,1\nb,c,\n", "line 3: trial 2"),
    "a name missing": (b"file_1,file_2,same_speaker\na,b,1\n,c,0\n", "line 3: trial 2"),
    "one kind": (b"1 a b\n1 a c\n", "all 2 trials are of one speaker"),
    "the other kind": (b"0 a b\n", "all 1 trials are of two speakers"),
    "a file with itself": (b"1 a b\n0 a c\n1 d/e ./d/../d/e\n", "line 3 pairs d/e with itself"),
    "a contradiction": (b"1 a b\n0 a c\n0 b a\n", "lines 1 and 3 contradict each other on b"),
    "Latin-1": (b"1 a b\n0 a \xe9\n", "line 2 holds the byte 0xe9"),
    "a zero byte": (b"1 a b\n0 a c\0\n", "line 2 holds a zero byte"),
    "a long line": (b"1 a b\n" + b"x" * 3_000_000, r"line 2: trial 2 is 'x+\.\.\. \(3000000 characters\)'"),
    "a page": (b"<!DOCTYPE html>\n<html>404</html>\n", "line 1"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_list_that_cannot_be_meant_so_is_refused_with_its_line(tmp_path: Path, kind: str) -> None:
    content, words = REFUSED[kind]
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"t\.txt: .*{words}") as caught:
        read_trials(tmp_path / "t.txt", tmp_path)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_a_list_that_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.txt"
    {"missing": lambda: None, "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[kind]()
    with pytest.raises(DataError, match="not readable as a trial list: no such file"):
        find_trials(tmp_path, "t.txt")
