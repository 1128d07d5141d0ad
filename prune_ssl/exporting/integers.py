"""Choose between the integer forms of a graph: the one that was asked for, or the better one on a corpus."""

from pathlib import Path

from prune_ssl.errors import DataError, ExportError
from prune_ssl.exporting.judged import Made, OnCorpus
from prune_ssl.exporting.targets import BEST
from prune_ssl.runtimes.quantising import quantise_dynamic, quantise_static
from prune_ssl.runtimes.registry import DYNAMIC, STATIC
from prune_ssl.writing import copy_file


def write_integers(whole: Path, made: Made, on_corpus: OnCorpus | None) -> tuple[str, str]:
    """Write the integer form of a float32 graph to its place.

    Without a corpus it is the dynamic one. With one it is the form that the corpus wants; of both, the better
    one by the task's metric is kept. If static integers cannot be made then, the dynamic ones are kept.

    Args:
        whole: The float32 ONNX file. Both forms are written beside it.
        made: The file to write.
        on_corpus: The corpus. None: there is none.

    Returns:
        The kind, dynamic or static, and a sentence that says why.

    Raises:
        ExportError: static integers were asked for and cannot be made.
        DataError: static integers were asked for and the corpus has no clips to calibrate with.
    """
    wanted = DYNAMIC if on_corpus is None else on_corpus.int8
    files, problem = {}, ""
    if wanted in (DYNAMIC, BEST):
        files[DYNAMIC] = whole.with_name("dynamic.onnx")
        quantise_dynamic(whole, files[DYNAMIC])
    if on_corpus is not None and wanted in (STATIC, BEST):
        static = whole.with_name("static.onnx")
        try:
            quantise_static(whole, static, on_corpus.calibration(made))
            files[STATIC] = static
        except (ExportError, DataError) as error:
            if wanted == STATIC:
                raise
            problem = str(error)
    if on_corpus is not None and len(files) > 1:
        chosen, why = on_corpus.better(made, files)
    else:
        chosen = next(iter(files))
        why = f"static ones cannot be made: {problem}" if problem else "no other form was made"
    copy_file(files[chosen], made.file)
    return chosen, f"{chosen} integers ({CONTENTS[chosen]}): {why}"


CONTENTS = {
    DYNAMIC: "matrix products in 8 bits, their inputs quantised at run time",
    STATIC: "matrix products and convolutions in 8 bits, calibrated on training clips",
}
"""The parts of the graph that each form computes in integers."""
