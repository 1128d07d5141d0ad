"""Trial lists of speaker verification as people have them, and as they should not be."""

import random
from pathlib import Path

from fuzzing.case import Case
from prune_ssl.data import read_trials
from prune_ssl.errors import DataError

NAMES = (
    "a/1.wav",
    "a/2.wav",
    "b/1.wav",
    "b c/1.wav",
    "ä/音.wav",
    "x,y.wav",
    "007",
    "id10001/1zcIwhmdeo4/00001.wav",
    "1.flac",
)
VERDICTS = (("1", "0"), ("target", "nontarget"), ("True", "False"), ("1.0", "0.0"), ("TARGET", "NonTarget"))

Meant = list[tuple[str, str, bool]]


def make(rng: random.Random, place: Path) -> Case:
    """Return a list that is read, and what it means."""
    names = rng.sample(NAMES, rng.randint(3, len(NAMES)))
    pairs = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    rng.shuffle(pairs)
    verdicts = [True, False] + [rng.random() < 0.5 for _ in range(rng.randint(0, 10))]
    meant = [(one, other, same) for (one, other), same in zip(pairs, verdicts, strict=False)]
    style = rng.choice([_words, _words, _words, _table, _table, _table])
    text, name, must = style(rng, meant)
    data = text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
    harm = rng.choice(["none"] * len(HARMS) + [*HARMS])
    if harm != "none":
        must, data = False, _harmed(rng, harm, text, meant)
    must = must and len({same for *_, same in meant}) == 2
    path = place / name
    path.write_bytes(data)
    if rng.random() < 0.2:
        (place / "wav").mkdir()
    below = place / "wav" if path.suffix == ".txt" and (place / "wav").is_dir() else place

    def act() -> None:
        try:
            found = read_trials(path, place)
        except DataError as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert not must, f"refused: {refused}"
            assert len(str(refused)) < 1_000, "an endless message"
            raise refused
        got = [(str(each.first), str(each.second), each.same) for each in found]
        wanted = [(str(below / one), str(below / other), same) for one, other, same in meant]
        assert len({same for *_, same in got}) == 2, "one kind of trials only"
        if harm in ("none", "blank lines", "twice"):
            assert [each for each in got if each in wanted] == got
            assert set(got) == set(wanted)
        elif harm not in ("bytes", "cut"):
            raise AssertionError(f"{harm} was taken")
        assert all("\n" not in first + second for first, second, _ in got)

    return Case(f"{name}, {harm}: {data[:250]!r}", act)


def _words(rng: random.Random, meant: Meant) -> tuple[str, str, bool]:
    """VoxCeleb's lines, or Kaldi's with the verdict at the end."""
    yes, no = rng.choice(VERDICTS)
    mark, last = rng.choice([" ", " ", "  ", "\t", ",", ";"]), rng.random() < 0.3
    lines = []
    for one, other, same in meant:
        fields = [one, other, yes if same else no] if last else [yes if same else no, one, other]
        lines.append(mark.join(fields))
    spaced = mark.isspace() and mark != "\t" and any(" " in one + other for one, other, _ in meant)
    parted = mark in ",;" and any(mark in one + other for one, other, _ in meant)
    end = rng.choice(["\n", "\r\n"])
    text = end.join(lines) + rng.choice(["", end])
    return text, rng.choice(["veri_test2.txt", "trials.txt", "trials", "x.lst"]), not (spaced or parted)


def _table(rng: random.Random, meant: Meant) -> tuple[str, str, bool]:
    yes, no = rng.choice(VERDICTS)
    columns, mark = ["file_1", "file_2", "same_speaker"], rng.choice([",", ",", ";", "\t"])
    order = [*columns, *rng.choice([[], ["split"], ["", "note"]])]
    rng.shuffle(order)
    rows = []
    for one, other, same in meant:
        fields = dict.fromkeys(order, "x") | dict(
            zip(columns, (one, other, yes if same else no), strict=True)
        )
        rows.append(
            mark.join(f'"{fields[name]}"' if mark in fields[name] else fields[name] for name in order)
        )
    header = mark.join(rng.choice([str, str, str.upper])(name) for name in order)
    end = rng.choice(["\n", "\r\n"])
    return end.join([header, *rows]) + end, rng.choice(["sv_trials.csv", "trials.csv", "t.tsv"]), True


HARMS = (
    "empty", "latin-1", "long line", "field less", "field more", "verdict", "itself", "contradiction",
    "one kind", "bytes", "cut", "zero byte", "page", "blank lines", "twice", "header only",
)  # fmt: skip


def _harmed(rng: random.Random, harm: str, text: str, meant: Meant) -> bytes:
    lines = text.splitlines()
    where, (one, other, same) = rng.randrange(len(lines)), meant[-1]
    plain = all(" " not in each + more for each, more, _ in meant)
    if harm in ("one kind", "itself", "contradiction", "twice", "blank lines") or not plain:
        lines = [f"{int(each)}\t{first}\t{second}" for first, second, each in meant]
        where = min(where, len(lines) - 1)
    if harm == "blank lines":
        lines.insert(where, rng.choice(["", "   ", "\t"]))
    elif harm == "twice":
        lines.append(lines[-1])
    elif harm == "itself":
        lines.append(f"1\t{one}\t./{one}")
    elif harm == "contradiction":
        lines.append(f"{int(not same)}\t{other}\t{one}")
    elif harm == "one kind":
        lines = [f"1\t{first}\t{second}" for first, second, _ in meant]
    elif harm == "verdict":
        lines = ["maybe\ta\tb" for line in lines]
    elif harm == "field less":
        lines[-1] = "1"
    elif harm == "field more":
        lines[-1] = "1 a b c d e"
    elif harm == "long line":
        lines[where] = "x" * 2_000_000
    elif harm == "zero byte":
        lines[where] = lines[where][:3] + "\0" + lines[where][3:]
    elif harm == "header only":
        lines = ["file_1,file_2,same_speaker"]
    elif harm == "empty":
        lines = rng.choice([[], ["", ""], [" "]])
    elif harm == "page":
        lines = ["<!DOCTYPE html>", "<html>404</html>"]
    data = ("\n".join(lines) + "\n").encode()
    if harm == "latin-1":
        return data + "1\té.wav\tü.wav\n".encode("latin-1")
    if harm == "cut":
        return data[: rng.randrange(len(data))]
    if harm == "bytes":
        spoilt = bytearray(data)
        for _ in range(3):
            spoilt[rng.randrange(len(spoilt))] = rng.choice(b"\n\t ,;01ab\xff")
        return bytes(spoilt)
    return data
