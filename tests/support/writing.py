"""A folder of three files, written as a whole, and the words that it holds."""

from prune_ssl.writing import new_folder


def fill(folder, words):
    (folder / "deep").mkdir()
    for name in ("a.txt", "deep/b.txt", "c.txt"):
        (folder / name).write_text(words)


def write_folder(path, words):
    with new_folder(path, replace=True) as new:
        fill(new, words)


def words_of(path):
    """The words that all files of a whole folder hold."""
    names = sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())
    assert names == ["a.txt", "c.txt", "deep/b.txt"]
    (words,) = {(path / name).read_text() for name in names}
    return words


def below_a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "deep" / "out"


def dangling(folder):
    (folder / "link").symlink_to(folder / "gone")
    return folder / "link"
