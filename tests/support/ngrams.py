"""A bigram model as ARPA text."""

WORDS = ("ONE", "TWO", "TOO")


BIGRAMS = (("-0.5", "<s> ONE"), ("-0.1", "ONE TOO"), ("-2.0", "ONE TWO"), ("-0.3", "TOO </s>"))


def arpa_text(words: tuple[str, ...] = WORDS, bigrams: tuple[tuple[str, str], ...] = BIGRAMS) -> str:
    """A bigram model after which ONE is followed by TOO rather than TWO."""
    unigrams = ["-99\t<s>\t-0.3", "-1\t</s>", "-3\t<unk>", *(f"-1\t{word}\t-0.3" for word in words)]
    pairs = [f"{score}\t{pair}" for score, pair in bigrams]
    counts = [f"ngram 1={len(unigrams)}", f"ngram 2={len(pairs)}"]
    parts = ["\\data\\", *counts, "", "\\1-grams:", *unigrams, "", "\\2-grams:", *pairs, "", "\\end\\", ""]
    return "\n".join(parts)
