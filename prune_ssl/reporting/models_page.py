"""The layouts of a comparison of models: tables, plots of quality against cost, and one HTML page."""

from html import escape

from prune_ssl.measuring import Latency, SpeedUp, speed_up
from prune_ssl.reporting import formatting as form
from prune_ssl.reporting.content import CONVENTIONS, Table
from prune_ssl.reporting.model import plural_threads
from prune_ssl.reporting.model_rows import ModelRow, SideBySideData
from prune_ssl.reporting.render import escaped, html_table, markdown_table, page
from prune_ssl.reporting.scatter import STYLE, Dot, Frame, scatter_plot
from prune_ssl.reporting.sweep_point import LOWER_IS_BETTER

NOTES = (
    "Shares, differences and speed-ups are relative to the first model. All models were timed in turns in "
    "one process. Where no speed-up is claimed, none is shown. A difference of a metric is paired: both "
    "models were judged on the same clips. It counts only if its interval leaves zero out."
)


def html(data: SideBySideData) -> str:
    """Return one HTML page with inline style and SVG plots, without scripts or other files."""
    quality, *others = [
        f"<section><h2>{name}</h2>{html_table(table)}</section>" for name, table in _tables(data)
    ]
    notes = "".join(f"<li>{escape(line)}</li>" for line in (NOTES, *CONVENTIONS))
    parts = [
        f"<section class=answer><p class=verdict>{escape(verdict(data))}</p></section>",
        quality,
        *(f"<section><h2>{escape(title)}</h2>{drawn}</section>" for title, drawn in _plots(data)),
        *others,
        "<section><h2>How to read it</h2>"
        f"<details class=printed><summary>Show</summary><ul>{notes}</ul></details></section>",
    ]
    subtitle = f"{len(data.models)} models, {form.date_in_words(data.created)}"
    return page(data.title, subtitle, "".join(parts), STYLE)


def markdown(data: SideBySideData) -> str:
    """Return the comparison as GitHub-flavoured Markdown, without the plots."""
    lines = [f"# {escaped(data.title)}", "", escaped(verdict(data)), ""]
    for name, table in _tables(data):
        lines += [f"## {name}", "", *markdown_table(table), ""]
    return "\n".join([*lines, f"- {escaped(NOTES)}"]) + "\n"


def verdict(data: SideBySideData) -> str:
    """Return which model is the smallest, the fastest and the best, in one sentence each."""
    rows, seconds = data.models, data.reference_seconds
    least = min(rows, key=lambda row: row.facts.measurement.macs[seconds])
    kept = form.share(least.facts.measurement.macs[seconds], rows[0].facts.measurement.macs[seconds])
    said = [f"{least.name} has the fewest MACs, {kept} of those of {rows[0].name}."]
    claims = [
        (speed.ratio, row)
        for row in rows[1:]
        for speed in _speeds(row, rows[0])
        if not speed.within_noise and speed.ratio > 1
    ]
    if claims:
        ratio, fastest = max(claims, key=lambda each: each[0])
        said.append(f"{fastest.name} is the fastest, up to {ratio:.2f}x as fast as {rows[0].name}.")
    elif rows[0].facts.measurement.latency:
        said.append("No model is told to be faster than the first.")
    return " ".join([*said, _best(data)]).strip()


def _best(data: SideBySideData) -> str:
    """Return the sentence on the best model, or an empty text if the models were not judged alike."""
    judged = [row for row in data.models if row.value is not None]
    if len({row.metric for row in judged}) != 1 or len(judged) < len(data.models):
        return ""
    metric = judged[0].metric
    best = min(judged, key=lambda row: _sign(metric) * (row.value or 0.0))
    value = form.metric_value(metric, best.value)
    told = [row.name for row in judged if _is_worse(row)]
    ends = f"; told from the first as worse: {', '.join(told)}" if told else ""
    return f"{best.name} has the best {form.metric_title(metric)}, {value}{ends}."


def _sign(metric: str) -> int:
    return 1 if metric.lower() in LOWER_IS_BETTER else -1


def _is_worse(row: ModelRow) -> bool:
    """Return whether the interval of a row's difference from the first model tells it as worse."""
    if row.difference_low is None or row.difference_high is None:
        return False
    ends = [_sign(row.metric) * end for end in (row.difference_low, row.difference_high)]
    return min(ends) > 0


def _tables(data: SideBySideData) -> list[tuple[str, Table]]:
    found = [
        ("Quality and size", costs_table(data)),
        ("Time", _times(data)),
        ("MACs by section", _sections(data)),
    ]
    found.append(("Units that are left", _units(data)))
    return [(name, table) for name, table in found if table.rows and len(table.columns) > 1]


def costs_table(data: SideBySideData) -> Table:
    """Return the quality and the size of each model, with shares of the first one in brackets."""
    at, first = data.reference_seconds, data.models[0].facts.measurement
    metrics = {row.metric for row in data.models if row.value is not None}
    title = form.metric_title(metrics.pop()) if len(metrics) == 1 else "quality" if metrics else ""
    columns = ["model", *((f"{title} (95% interval)", "minus the first") if title else ())]
    columns += ["parameters (kept)", f"MACs, {at:g} s (kept)", "size"]
    rows = []
    for row in data.models:
        found = row.facts.measurement
        quality = _with_interval(row, named=title == "quality")
        costs = [form.kept(found.params, first.params), form.kept(found.macs[at], first.macs[at])]
        told = (quality, _difference(row)) if title else ()
        rows.append([row.name, *told, *costs, form.megabytes(found.size_bytes)])
    return Table(columns, rows)


def short_table(data: SideBySideData) -> Table:
    """Return the quality, the shares and the time of each model, narrow enough for 80 columns."""
    at, first = data.reference_seconds, data.models[0].facts.measurement
    rows = []
    for row in data.models:
        found = row.facts.measurement
        kept = [form.share(found.params, first.params), form.share(found.macs[at], first.macs[at])]
        timed = _longest(row)
        time = "-" if timed is None else form.milliseconds(timed.median_ms)
        rows.append([row.name, _quality(row), *kept, form.megabytes(found.size_bytes), time])
    longest = _longest(data.models[0])
    heading = "time" if longest is None else f"time, {longest.seconds:g} s"
    return Table(["model", "quality", "params", "MACs", "size", heading], rows)


def _longest(row: ModelRow) -> Latency | None:
    """Return the time on the longest audio with the fewest threads, as on the first screen of a report."""
    latency = row.facts.measurement.latency
    return min(latency, key=lambda each: (each.threads, -each.seconds)) if latency else None


def _quality(row: ModelRow) -> str:
    return "-" if row.value is None else f"{form.metric_value(row.metric, row.value)} {row.metric}"


def _with_interval(row: ModelRow, named: bool) -> str:
    """Return the metric with its interval in brackets, and with its name if the models have several."""
    value = _quality(row) if named else form.metric_value(row.metric, row.value)
    if row.low is None or row.high is None:
        return value
    return f"{value} ({form.ends(row.metric, row.low, row.high)})"


def _difference(row: ModelRow) -> str:
    """Return the paired difference from the first model with its interval, or a dash."""
    if row.difference is None or row.difference_low is None or row.difference_high is None:
        return "-"
    return form.points_with_ends(row.metric, row.difference, row.difference_low, row.difference_high)


def _times(data: SideBySideData) -> Table:
    first = data.models[0]
    rows = []
    for row in data.models:
        speeds = {(each.seconds, each.threads): each for each in _speeds(row, first)}
        cells = [row.name]
        for latency in first.facts.measurement.latency:
            found = row.facts.measurement.latency_at(latency.seconds, latency.threads)
            speed = speeds.get((latency.seconds, latency.threads))
            claimed = speed is not None and not speed.within_noise and row is not first
            gain = f" ({speed.ratio:.2f}x)" if speed is not None and claimed else ""
            cells.append("-" if found is None else f"{form.milliseconds(found.median_ms)}{gain}")
        rows.append(cells)
    return Table(["model", *(_where(each) for each in first.facts.measurement.latency)], rows)


def _where(latency: Latency) -> str:
    return f"{latency.seconds:g} s, {plural_threads(latency.threads)}"


def _speeds(row: ModelRow, first: ModelRow) -> list[SpeedUp]:
    found = []
    for latency in row.facts.measurement.latency:
        reference = first.facts.measurement.latency_at(latency.seconds, latency.threads)
        if reference is not None:
            found.append(speed_up(reference, latency))
    return found


def _sections(data: SideBySideData) -> Table:
    names = list(dict.fromkeys(name for row in data.models for name in row.facts.sections))
    rows = [
        [
            row.name,
            *(
                form.quantity(row.facts.sections[name].macs) if name in row.facts.sections else "-"
                for name in names
            ),
        ]
        for row in data.models
    ]
    return Table(["model", *names], rows)


def _units(data: SideBySideData) -> Table:
    """Return how many units of each kind each model has in all its layers."""
    kinds = list(dict.fromkeys(unit.kind for row in data.models for unit in row.facts.groups.values()))
    rows = [
        [
            row.name,
            *(
                str(sum(unit.size for unit in row.facts.groups.values() if unit.kind == kind))
                for kind in kinds
            ),
        ]
        for row in data.models
    ]
    return Table(["model", *kinds], rows)


def _plots(data: SideBySideData) -> list[tuple[str, str]]:
    """Return the title and the figure of each plot. There are none if the models were not judged alike."""
    judged = [row for row in data.models if row.value is not None]
    if len(judged) < 2 or len({row.metric for row in judged}) != 1:
        return []
    at, metric = data.reference_seconds, judged[0].metric
    whole = data.models[0].facts.measurement.macs[at]
    costs = {"MACs": [row.facts.measurement.macs[at] / whole for row in judged]}
    timed = [found for row in judged if (found := _longest(row)) is not None]
    if len(timed) == len(judged):
        costs[f"latency in ms, {_where(timed[0])}"] = [each.median_ms for each in timed]
    title = form.metric_title(metric)
    made = []
    for name, values in costs.items():
        dots = [
            Dot(x=x, y=row.value or 0.0, series=row.name, low=row.low, high=row.high, note=row.name)
            for x, row in zip(values, judged, strict=True)
        ]
        percent = metric.lower() in form.PERCENT_METRICS
        x_title = f"{name}, of the first model" if name == "MACs" else name
        frame = Frame(f"{title} by {name}", x_title, x_percent=name == "MACs", y_percent=percent)
        made.append(
            (
                f"{title[0].upper() + title[1:]} against {name}",
                f"<figure tabindex=0>{scatter_plot(dots, frame)}</figure>",
            )
        )
    return made
