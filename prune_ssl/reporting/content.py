"""The content of a report in reading order: sections of notes, tables and plots that all layouts share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prune_ssl.measuring import Latency
from prune_ssl.reporting import formatting as form
from prune_ssl.reporting.answer import last_stage
from prune_ssl.reporting.model import DIVERGENCE_LIMIT, ModelFacts, ReportData, plural_threads
from prune_ssl.reporting.paired import INTERVALS, SPEAKERS, interval_lines, with_interval

CONVENTIONS = (
    "MAC: one multiply-add in a convolution, a linear layer or an attention product (QK^T and AV). "
    "FLOPs = 2 x MACs, in brackets.",
    "Not counted: normalisation, activations, softmax, biases, feature extraction and decoding.",
    "Batch 1 throughout; MACs and latency are given with the audio length, at 16 kHz.",
    "Latency: from waveform tensor to model output, in eval and inference mode; median, 10th and 90th "
    "percentile of n calls after a warm-up. The dense and the pruned model are timed in turns in one "
    "process. Processor: low quartile of the processor time of all threads together, which does not change "
    "if the process waits for a core.",
    "A speed-up is the ratio of low quartiles. Its interval is the range of eight consecutive repeats and, "
    "on one thread, the ratio of processor times. A speed-up is not claimed (within noise) if that range is "
    "at least as wide as the gain, or if fewer than nine calls were timed. It is not claimed either if the "
    "machine did other work: the 90th percentile is more than twice the 10th, the process had a core for "
    "less than 80% of the time, or the load average was high.",
    "RTF = compute time / audio time (lower is faster); RTFx is its inverse.",
    "Size on disk: bytes of the weights as safetensors.",
)


@dataclass(frozen=True)
class Table:
    """A table whose first column is text and whose other columns are numbers."""

    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Section:
    """A titled part of the report."""

    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    """Names of plots for `plots.draw`."""
    folded: bool = False
    """Whether the page shows the tables and notes on request only."""
    printed: bool = True
    """Whether folded tables and notes appear on paper."""


def sections(data: ReportData) -> list[Section]:
    """Return the sections that the data can fill, in reading order."""
    parts = [
        Section("Summary", [summary(data)]),
        _task(data),
        _budget(data),
        _macs(data),
        _latency(data),
        _speed(data),
        exports_section(data),
        _structure(data),
        _training(data),
        *_again(data),
        _environment(data),
        Section("Conventions", notes=list(CONVENTIONS), folded=True),
    ]
    return [part for part in parts if part is not None]


def summary(data: ReportData) -> Table:
    """Return the main numbers of both models: task metrics, parameters, MACs, latency and size."""
    dense, small = data.baseline, data.model
    if dense is None:
        metrics = [[name, after] for name, _, after, _ in _summary_metrics(data)]
        return Table(["", "model"], [*metrics, *map(list, _summary_values(data, small))])
    before = _summary_values(data, dense)
    after = dict(_summary_values(data, small))
    ratios = _summary_ratios(data, dense, small)
    rows = [[name, value, after.get(name, "-"), ratios.get(name, "")] for name, value in before]
    return Table(["", "dense", data.made, "kept / gain"], [*_summary_metrics(data), *rows])


def _summary_metrics(data: ReportData) -> list[list[str]]:
    before = data.results.get("dense", {})
    last = last_stage(data)
    after = data.results.get(last, {})
    paired = {(each.metric, each.stage, each.against): each for each in data.differences}
    rows = []
    for name in _metric_names(data):
        if name.lower() not in form.PERCENT_METRICS:
            continue
        values = [form.metric_value(name, stage.get(name)) for stage in (before, after)]
        change = form.points(name, after[name] - before[name]) if name in before and name in after else ""
        if (name, last, "dense") in paired:
            change = with_interval(paired[name, last, "dense"])
        rows.append([form.metric_title(name), *values, change])
    return rows


def _summary_values(data: ReportData, facts: ModelFacts) -> list[tuple[str, str]]:
    measured = facts.measurement
    reference = data.reference_seconds
    values = [("parameters", form.quantity(measured.params))]
    timed = {latency.seconds for latency in data.model.measurement.latency}
    values += [
        (f"MACs, {seconds:g} s", form.quantity(measured.macs[seconds]))
        for seconds in sorted({reference, *timed} & set(measured.macs))
    ]
    values += [
        (_latency_label(latency), form.milliseconds(latency.median_ms)) for latency in measured.latency
    ]
    if measured.size_bytes is not None:
        values.append(("size on disk", form.megabytes(measured.size_bytes)))
    if measured.peak_memory_bytes is not None:
        values.append(("peak memory", form.megabytes(measured.peak_memory_bytes)))
    return values


def _summary_ratios(data: ReportData, dense: ModelFacts, small: ModelFacts) -> dict[str, str]:
    before, after = dense.measurement, small.measurement
    ratios = {"parameters": form.share(after.params, before.params)}
    for seconds in before.macs.keys() & after.macs.keys():
        ratios[f"MACs, {seconds:g} s"] = form.share(after.macs[seconds], before.macs[seconds])
    if before.size_bytes and after.size_bytes:
        ratios["size on disk"] = form.share(after.size_bytes, before.size_bytes)
    if before.peak_memory_bytes and after.peak_memory_bytes:
        ratios["peak memory"] = form.share(after.peak_memory_bytes, before.peak_memory_bytes)
    for comparison in data.comparisons:
        found = after.latency_at(comparison.speed_up.seconds, comparison.speed_up.threads)
        if found is not None:
            ratios[_latency_label(found)] = str(comparison.speed_up)
    return ratios


def _latency_label(latency: Latency) -> str:
    return f"latency, {latency.seconds:g} s, {plural_threads(latency.threads)}"


def _metric_names(data: ReportData) -> list[str]:
    """Return the names of the task metrics of all stages, in order of appearance."""
    return list(dict.fromkeys(name for stage in data.results.values() for name in stage))


def _task(data: ReportData) -> Section | None:
    names = _metric_names(data)
    if not names:
        return None
    stages = [stage for stage in form.STAGES if stage in data.results] + [
        s for s in data.results if s not in form.STAGES
    ]
    rows = [
        [
            form.metric_name(name),
            *(_with_ends(name, data.results[stage]) for stage in stages),
        ]
        for name in names
        if not name.endswith(("_low", "_high", SPEAKERS))
    ]
    tables = [Table(["metric", *(form.STAGES.get(stage, stage) for stage in stages)], rows)]
    if data.differences:
        tables.append(_differences(data))
    last = data.results[stages[-1]]
    notes = [f"{form.STAGES.get(stages[-1], stages[-1])}: {line}." for line in interval_lines(last)]
    return Section("Task", tables, [*notes, INTERVALS] if notes else [])


def _with_ends(name: str, found: Mapping[str, float]) -> str:
    """Return a metric with its interval, such as `92.1% (87.2% to 100.0%)`."""
    value, low, high = (form.metric_value(name, found.get(f"{name}{end}")) for end in ("", "_low", "_high"))
    return value if "-" in (low, high) else f"{value} ({low} to {high})"


def _differences(data: ReportData) -> Table:
    """Return the paired differences between stages."""
    rows = [
        [
            f"{each.metric}, {form.STAGES[each.stage]} minus {form.STAGES[each.against]}",
            form.points(each.metric, each.difference),
            f"{form.points(each.metric, each.low)} to {form.points(each.metric, each.high)}",
            form.points(each.metric, each.standard_error).lstrip("+"),
            each.drawn,
        ]
        for each in data.differences
    ]
    return Table(["paired difference", "value", "95% interval", "standard error", "drawn"], rows)


def _budget(data: ReportData) -> Section | None:
    drawn = any(record.expected is not None for record in data.history)  # only gates have an expected cost
    if not data.budget and not drawn:
        return None
    rows = [
        [
            term.term,
            "-" if term.fraction is None else f"{term.fraction:.2%}",
            form.amount(term.term, term.achieved),
        ]
        for term in data.budget
    ]
    tables = [Table(["asked to keep", "kept", "amount"], rows)] if rows else []
    notes = [f"MACs at {data.reference_seconds:g} s of audio."] if rows else []
    return Section("Budget", tables, notes, ["budget"] if drawn else [])


def _macs(data: ReportData) -> Section:
    dense, small = data.baseline, data.model
    made = None if dense is None else data.made
    rows = []
    for seconds, macs in small.measurement.macs.items():
        whole = None if dense is None else dense.measurement.macs.get(seconds)
        rows.append([f"{seconds:g} s", *_cost_cells(macs, whole, with_flops=True)])
    by_length = Table(["audio", *_cost_columns("MACs (FLOPs)", made)], rows)
    names = list(dict.fromkeys([*(dense.sections if dense else {}), *small.sections]))
    section_rows = []
    for name in names:
        row = [name]
        for kind in ("macs", "params"):
            whole = getattr(dense.sections[name], kind) if dense and name in dense.sections else None
            part = getattr(small.sections[name], kind) if name in small.sections else 0
            row += _cost_cells(part, whole if dense else None, with_flops=False, compare=dense is not None)
        section_rows.append(row)
    columns = [
        "section",
        *_cost_columns("MACs", made),
        *_cost_columns("parameters", made),
    ]
    note = f"Sections at {data.reference_seconds:g} s of audio."
    return Section("MACs and parameters", [by_length, Table(columns, section_rows)], [note], ["sections"])


def _cost_columns(quantity: str, made: str | None) -> list[str]:
    return [f"{quantity}, dense", f"{quantity}, {made}", "kept"] if made else [quantity]


def _cost_cells(part: int, whole: int | None, with_flops: bool, compare: bool | None = None) -> list[str]:
    def write(value: int) -> str:
        return f"{form.quantity(value)} ({form.quantity(2 * value)})" if with_flops else form.quantity(value)

    if not (whole is not None if compare is None else compare):
        return [write(part)]
    return ["-" if whole is None else write(whole), write(part), form.share(part, whole)]


def _latency(data: ReportData) -> Section | None:
    models = {"dense": data.baseline, data.made: data.model} if data.baseline else {"model": data.model}
    rows = []
    for reference in data.model.measurement.latency:
        for name, facts in models.items():
            found = facts.measurement.latency_at(reference.seconds, reference.threads) if facts else None
            if found is not None:
                measured = (found.median_ms, found.p10_ms, found.p90_ms, found.processor_ms)
                times = ["-" if value is None else form.milliseconds(value) for value in measured]
                ratios = [f"{found.rtf:.4f}", f"{found.rtfx:.1f}"]
                rows.append([name, f"{found.seconds:g} s", str(found.threads), *times, str(found.n), *ratios])
    columns = ["model", "audio", "threads", "median", "p10", "p90", "processor", "n", "RTF", "RTFx"]
    return Section("Latency", [Table(columns, rows)]) if rows else None


def _speed(data: ReportData) -> Section | None:
    rows = []
    for comparison in data.comparisons:
        speed = comparison.speed_up
        band = "-" if speed.within_noise else f"{speed.low:.2f}x to {speed.high:.2f}x"
        agree = "-" if speed.within_noise else "no" if comparison.diverges else "yes"
        row = [f"{speed.seconds:g} s", str(speed.threads), f"{comparison.macs_ratio:.2f}x", str(speed), band]
        rows.append([*row, agree])
    columns = [
        "audio",
        "threads",
        "MACs ratio",
        "measured speed-up",
        "among repeats",
        f"within {DIVERGENCE_LIMIT}x",
    ]
    return Section("MACs saved and speed gained", [Table(columns, rows)]) if rows else None


def exports_section(data: ReportData) -> Section | None:
    """Return the exports that were judged on a corpus, or None if there are none."""
    if not data.exports:
        return None
    rows = []
    for each in data.exports:
        name = each.metric
        values = [form.metric_value(name, value) for value in (each.value, each.low, each.high)]
        changes = [
            form.points(name, value)
            for value in (each.difference, each.difference_low, each.difference_high)
            if value is not None
        ]
        rows.append(
            [
                f"{each.target} ({each.kind})" if each.kind else each.target,
                f"{form.metric_name(name)} {values[0]}",
                "-" if each.low is None else f"{values[1]} to {values[2]}",
                changes[0],
                f"{changes[1]} to {changes[2]}" if len(changes) == 3 else "-",
                _steady_ms(each.latency),
                _steady_ms(each.pytorch_latency),
                form.megabytes(each.size_bytes),
            ]
        )
    columns = [
        "runtime",
        "metric",
        "95% interval",
        "minus PyTorch",
        "95% interval, paired",
        "latency",
        "PyTorch beside it",
        "size",
    ]
    return Section("Exports", [Table(columns, rows)], _exports_notes(data))


def _steady_ms(latency: Latency) -> str:
    mark = "*" if latency.unsteady else ""
    return f"{form.milliseconds(latency.median_ms)}{mark}"


def _exports_notes(data: ReportData) -> list[str]:
    """Return the conditions of the rows, each once."""
    judged = dict.fromkeys(f"{each.clips} {each.split} clips of {each.corpus}" for each in data.exports)
    timed = dict.fromkeys(_latency_label(each.latency) for each in data.exports)
    notes = [
        f"Judged on {'; '.join(judged)}, one clip at a time, also in PyTorch (float32, on the CPU).",
        f"Timed in turns with PyTorch: {'; '.join(timed)}; medians.",
    ]
    if any(time.unsteady for each in data.exports for time in (each.latency, each.pytorch_latency)):
        notes.append("*: the machine did other work meanwhile, so do not quote this latency.")
    return notes


def _structure(data: ReportData) -> Section | None:
    dense, small = data.baseline, data.model
    names = list(dense.groups if dense else small.groups)
    if not names:
        return None
    rows = []
    for name in names:
        kept = small.groups[name].size if name in small.groups else 0
        if dense is None:
            rows.append([name, str(kept)])
        else:
            rows.append(
                [name, str(dense.groups[name].size), str(kept), form.share(kept, dense.groups[name].size)]
            )
    columns = ["group", "units"] if dense is None else ["group", "dense", "kept", "share"]
    return Section("Kept units", [Table(columns, rows)], plots=["units"], folded=True, printed=False)


def _training(data: ReportData) -> Section | None:
    """Return how the model was made: its settings, and the losses of each training phase."""
    tables = []
    if data.settings:
        tables.append(Table(["setting", "value"], [[name, value] for name, value in data.settings.items()]))
    rows = []
    for phase, records in data.phases.items():
        rates = [record.learning_rate for record in records if record.learning_rate is not None]
        rate = f"{max(rates):.3g}" if rates else "-"
        losses = [f"{record.loss:.4g}" for record in (records[0], records[-1])]
        rows.append([phase, str(records[-1].step), *losses, rate])
    if rows:
        columns = ["phase", "steps", "first loss", "last loss", "highest learning rate"]
        tables.append(Table(columns, rows))
    return Section("Training", tables, plots=["losses"] if rows else []) if tables else None


def _again(data: ReportData) -> list[Section]:
    """Return how to load the model and how to run its recipe again. Empty: no run of a recipe made it."""
    if not data.recipe:
        return []
    notes = [
        'Load the model: prune_ssl.load_pretrained("model"), in the folder of this report.',
        "Run again: prune-ssl run recipe.yaml output=ANOTHER_FOLDER; recipe.yaml lies beside this report.",
    ]
    rows = [[name, value] for name, value in _flat(data.recipe)]
    keys = Section("Recipe", [Table(["key", "value"], rows)], folded=True, printed=False)
    return [Section("Load it, run it again", notes=notes), keys]


def _flat(data: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of nested data with their sections, such as `pruning.budget`, and their values."""
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif value not in (None, "", [], {}, ()):
            yield f"{prefix}{name}", str(value)


def _environment(data: ReportData) -> Section:
    rows = [[name.replace("_", " "), value] for name, value in data.model.measurement.environment.items()]
    return Section("Environment", [Table(["", "measured on"], rows)], folded=True)
