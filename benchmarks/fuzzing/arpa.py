"""N-gram models as ARPA text: correct ones of 2 to 4 orders, and ones that no toolkit should accept."""

import bz2
import gzip
import math
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fuzzing.case import Case
from prune_ssl.errors import DataError
from prune_ssl.tasks import BeamDecoder, BeamSettings
from prune_ssl.tasks.tokenizers import character_tokenizer

LETTERS = "ABCDE"
TOKENIZER = character_tokenizer([LETTERS])

Model = dict[tuple[str, ...], tuple[float, float]]
"""N-gram to log10 of its probability and of its back-off weight."""


def make(rng: random.Random, place: Path) -> Case:
    """Return a model that is read, and by which a sentence is scored."""
    order = rng.choice([2, 2, 2, 3, 3, 4])
    words = sorted({"".join(rng.choices(LETTERS, k=rng.randint(1, 4))) for _ in range(rng.randint(2, 12))})
    model = _model(rng, words, order)
    text = _text(model, order, rng)
    harm = rng.choice(["none"] * 12 + list(HARMS) + list(PACKED))
    content = HARMS[harm](rng, text).encode() if harm in HARMS else text.encode()
    path = place / rng.choice(["a.arpa", "a b.arpa", "lm", "ä.arpa"])
    packed = harm in PACKED or rng.random() < 0.3
    if packed:
        path = path.with_suffix(".arpa.gz")
        content = PACKED[harm](rng, content) if harm in PACKED else gzip.compress(content)
    path.write_bytes(content)
    if harm == "pipe":
        path.unlink()
        os.mkfifo(path)
    sentence = rng.choices(words, k=rng.randint(1, 4))

    def act() -> None:
        score = {}
        for weight in (0.0, 1.0):
            decoder = _made(path, weight, must=harm == "none")
            score[weight], heard = _decode(decoder, sentence)
            assert heard == " ".join(sentence), f"heard {heard!r} for {sentence}"
        assert harm in ("none", *HARMLESS), f"{harm} was taken"
        found, wanted = score[1.0] - score[0.0], _log10(model, sentence, order)
        assert math.isclose(found, wanted, abs_tol=2e-3), (
            f"{sentence} scores {found:.4f}, wanted {wanted:.4f}"
        )

    return Case(f"{order} orders, {len(words)} words, {harm}, {path.name}: {content[:60]!r}", act)


def _made(path: Path, weight: float, must: bool) -> BeamDecoder:
    try:
        return BeamDecoder.make(BeamSettings(lm=path, lm_weight=weight, beam=20), TOKENIZER)
    except DataError as error:
        refused = error
    assert not must, f"refused: {refused}"
    raise refused


def _model(rng: random.Random, words: list[str], order: int) -> Model:
    """Random scores; every history of an n-gram is there, as it must be."""
    model: Model = {("<s>",): (-99.0, -rng.random()), ("</s>",): (-1.0, 0.0), ("<unk>",): (-3.0, 0.0)}
    model |= {(word,): (-3 * rng.random(), -rng.random()) for word in words}
    before = [("<s>",), *((word,) for word in words)]
    for size in range(2, order + 1):
        longer = [
            (*history, word)
            for history in before
            for word in rng.sample([*words, "</s>"], rng.randint(1, 2))
            if (*history[1:], word) in model  # KenLM has no room for many n-grams whose end is none
        ]
        for each in longer:
            weight = 0.0 if size == order or each[-1] == "</s>" else -rng.random()
            model[each] = (-2 * rng.random(), weight)
        before = [each for each in longer if each[-1] != "</s>"]
    return model


def _text(model: Model, order: int, rng: random.Random) -> str:
    sections = {size: [each for each in model if len(each) == size] for size in range(1, order + 1)}
    lines = ["\\data\\", *(f"ngram {size}={len(each)}" for size, each in sections.items())]
    for size, ngrams in sections.items():
        lines += ["", f"\\{size}-grams:"]
        for each in ngrams:
            score, weight = model[each]
            tail = f"\t{weight!r}" if weight or (size < order and rng.random() < 0.2) else ""
            lines.append(f"{score!r}\t{' '.join(each)}{tail}")
    return rng.choice(["\n", "\n", "\n", "\r\n"]).join([*lines, "", "\\end\\", ""])


def _log10(model: Model, sentence: list[str], order: int) -> float:
    """Score a sentence with its end by the definition of back-off."""

    def one(history: tuple[str, ...], word: str) -> float:
        if (*history, word) in model:
            return model[(*history, word)][0]
        weight = model.get(history, (0.0, 0.0))[1]
        return weight + one(history[1:], word)

    words = ["<s>", *sentence, "</s>"]
    histories = (tuple(words[max(0, place - order + 1) : place]) for place in range(1, len(words)))
    return sum(one(history, word) for history, word in zip(histories, words[1:], strict=True))


def _decode(decoder: BeamDecoder, sentence: list[str]) -> tuple[float, str]:
    """The score and text of the best hypothesis for audio that leaves nothing open."""
    ids = TOKENIZER.convert_tokens_to_ids(list("|".join(sentence)))
    logits = np.zeros((2 * len(ids), len(TOKENIZER)), dtype=np.float32)
    logits[::2][np.arange(len(ids)), ids] = 60
    logits[1::2, TOKENIZER.pad_token_id] = 60
    scores: list[float] = []
    search = decoder._search.decoder

    def listen(emissions: object) -> object:
        found = search(emissions)
        scores.append(found[0][0].score)
        return found

    object.__setattr__(decoder._search, "decoder", listen)
    return (lambda text: (scores[0], text))(decoder.decode(logits))


def _line(change: Callable[[random.Random, str], str]) -> Callable[[random.Random, str], str]:
    """Change one line that holds an entry."""

    def harm(rng: random.Random, text: str) -> str:
        lines = text.splitlines(keepends=True)
        places = [index for index, line in enumerate(lines) if "\t" in line and "<" not in line]
        place = rng.choice(places)
        lines[place] = change(rng, lines[place])
        return "".join(lines)

    return harm


def _score(line: str, score: str) -> str:
    return score + line[line.index("\t") :]


HARMS: dict[str, Callable[[random.Random, str], str]] = {
    "positive": _line(lambda rng, line: _score(line, rng.choice(["0.5", "1e-3", "7"]))),
    "no number": _line(
        lambda rng, line: _score(line, rng.choice(["x", "", "nan", "-inf", "inf", "--1", "1_0", "0x1"]))
    ),
    "weight": _line(
        lambda rng, line: (
            "\t".join([*line.split("\t")[:2]]).rstrip() + f"\t{rng.choice(['x', 'nan', 'inf'])}\n"
        )
    ),
    "twice": _line(lambda rng, line: line + line),
    "a word more": _line(lambda rng, line: line.replace("\t", "\tA A A A A ", 1)),
    "no word": _line(lambda rng, line: "-1.0\n"),
    "unknown word": _line(lambda rng, line: line.rstrip() + "\n-0.5\tQQQ QQQ QQQ QQQ QQQ\n"),
    "lost line": _line(lambda rng, line: ""),
    "same, counted": lambda rng, text: _doubled(rng, text),
    "count more": lambda rng, text: text.replace("ngram 1=", "ngram 1=1", 1),
    "count huge": lambda rng, text: text.replace(
        "ngram 2=", f"ngram 2={rng.choice([99999999999, 10**30, 2**63])}", 1
    ),
    "count negative": lambda rng, text: text.replace("ngram 2=", "ngram 2=-", 1),
    "count text": lambda rng, text: text.replace("ngram 2=", "ngram 2=x", 1),
    "order more": lambda rng, text: text.replace("\\1-grams", "ngram 9=0\n\\1-grams", 1).replace(
        "\n\nngram", "\nngram"
    ),
    "order 0": lambda rng, text: text.replace("ngram 1=", "ngram 0=", 1),
    "order 1": lambda rng, text: (
        text[: text.index("ngram 2")] + text[text.index("\\1-gr") : text.index("\\2-gr")] + "\\end\\\n"
    ),
    "no end": lambda rng, text: text.replace("\\end\\", ""),
    "behind the end": lambda rng, text: text + "-1\tA\n",
    "before": lambda rng, text: "a comment\n" + text,
    "mark": lambda rng, text: "\ufeff" + text,
    "no begin": lambda rng, text: text.replace("\\data\\", ""),
    "section": lambda rng, text: text.replace(
        "\\2-grams:", rng.choice(["\\3-grams:", "2-grams:", "\\2-grams", ""])
    ),
    "no <s>": lambda rng, text: text.replace("<s>", "SS"),
    "no </s>": lambda rng, text: text.replace("</s>", "SS"),
    "no <unk>": lambda rng, text: text.replace("<unk>", "UU"),
    "foreign": lambda rng, text: "".join(
        chr(ord(each) + 0x400) if each in LETTERS else each for each in text
    ),
    "empty": lambda rng, text: rng.choice(["", "\n", "\\data\\\n", "\\data\\\nngram 1=0\nngram 2=0\n"]),
    "page": lambda rng, text: "<!DOCTYPE html>\n<html>404</html>\n",
    "long line": lambda rng, text: text.replace("\\2-grams:", "x" * 3_000_000, 1),
    "zero bytes": lambda rng, text: text.replace("\\2-grams:", "\0" * 50, 1),
    "cut": lambda rng, text: text[: rng.randrange(len(text) - 7)],
    "pipe": lambda rng, text: text,
    "spaces": lambda rng, text: text.replace("\t", " "),
    "blank lines": lambda rng, text: text.replace("\\2-grams:", "\n\n\n\\2-grams:"),
}
"""What is done to the text of a model."""

HARMLESS = ("no <unk>", "blank lines", "not packed", "members", "lost line")
"""After these a model may be taken: it says the same, or what is gone is no loss."""


def _doubled(rng: random.Random, text: str) -> str:
    """One entry of the last order comes twice, with another score, and the counts agree."""
    head, mark, tail = text.rpartition("-grams:")
    order = head[-1]
    first, *rest = tail.splitlines()[1:]
    if "\t" not in first:
        return text + "an order without entries\n"
    count = sum("\t" in line for line in [first, *rest])
    text = head.replace(f"ngram {order}={count}", f"ngram {order}={count + 1}") + mark
    return "\n".join([*text.splitlines(), first, _score(first, "-0.77"), *rest, ""])


def _broken(rng: random.Random, content: bytes) -> bytes:
    data = bytearray(gzip.compress(content))
    data[rng.randrange(12, len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


PACKED: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "gz cut": lambda rng, content: gzip.compress(content)[: rng.randrange(len(gzip.compress(content)))],
    "gz bit": _broken,
    "gz sum": lambda rng, content: gzip.compress(content)[:-8] + b"\0\1\2\3\4\5\6\7",
    "not packed": lambda rng, content: content,
    "bz2": lambda rng, content: bz2.compress(content),
    "noise": lambda rng, content: rng.randbytes(300),
    "members": lambda rng, content: gzip.compress(content[:50]) + gzip.compress(content[50:]),
    "bomb": lambda rng, content: gzip.compress(content[: content.index(b"\\2-gr")] + b"\n" * 100_000_000, 1),
    "bomb of entries": lambda rng, content: gzip.compress(
        b"\\data\\\nngram 1=90000000\nngram 2=1\n\n\\1-grams:\n" + b"-1\tA\n" * 20_000_000, 1
    ),
}
"""What is done to a packed model."""
