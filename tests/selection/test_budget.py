"""The grammar of budgets: what is read, that it reads back equal, and what a refusal says was meant."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import BudgetError
from prune_ssl.selection import Conditions, Constraint, parse_budget
from prune_ssl.selection.budget import DTYPE_BYTES, MOST, UNITS
from prune_ssl.tracing.cost import SECTIONS

amounts = st.one_of(
    st.tuples(st.floats(0, 1, exclude_min=True), st.none()),
    st.tuples(st.none(), st.integers(1, MOST - 1)),
    st.tuples(st.none(), st.integers(1, 99_999).map(lambda n: n * 10**9)),
)
lengths = st.none() | st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False)


@st.composite
def constraints(draw):
    metric = draw(st.sampled_from(sorted(UNITS)))
    section = draw(st.none() | st.sampled_from(SECTIONS)) if metric in ("params", "macs") else None
    fraction, absolute = draw(amounts)
    at, dtypes = Conditions(), st.sampled_from(sorted(DTYPE_BYTES))
    if metric == "memory":
        at = Conditions(dtype=draw(dtypes))
    if metric == "latency":
        device, threads = draw(st.sampled_from(["cpu", "cuda"])), draw(st.integers(1, 999_999))
        at = Conditions(device, threads, draw(lengths), draw(dtypes))
    return Constraint(metric, section, fraction, absolute, at)


@given(constraints())
def test_what_is_printed_reads_back_equal(constraint):
    assert parse_budget(str(constraint)) == (constraint,)


@given(st.lists(constraints(), min_size=1, max_size=4, unique_by=lambda each: each.name))
def test_several_terms_read_back_equal(budget):
    assert parse_budget(",".join(map(str, budget))) == tuple(budget)


@pytest.mark.parametrize(
    ("text", "amount", "shown"),
    [
        ("macs=.5T", 500_000_000_000, "macs=500G"),
        ("macs=3G", 3_000_000_000, "macs=3G"),
        ("params=94371712", 94_371_712, "params=94371712"),
        ("params=0.002K", 2, "params=0.002K"),
        ("memory=40MB", 40_000_000, "memory=40MB"),
        ("macs=33.3333333%", 0.333333333, "macs=33.3333333%"),
        ("macs = 50 %", 0.5, "macs=50%"),
        ("latency=1s", 10**9, "latency=1s@cpu,threads=1"),
        ("latency=12.5ms,seconds=0.1", 12_500_000, "latency=12.5ms@cpu,threads=1,seconds=0.1"),
        ("latency=1234567us", 1_234_567_000, "latency=1234567us@cpu,threads=1"),
        ("latency=0.0004321ms", 432, "latency=0.000432ms@cpu,threads=1"),
    ],
)
def test_amounts_are_exact_and_printed_as_people_write_them(text, amount, shown):
    (constraint,) = parse_budget(text)
    assert (constraint.amount, str(constraint)) == (amount, shown)


@pytest.mark.parametrize(
    ("given_text", "meant"),
    [
        ("50%", "macs=50%"),
        ("0.5", "macs=50%"),
        (0.5, "macs=50%"),
        ("macs=0.5", "macs=50%"),
        ("macs=.25", "macs=25%"),
        ("params=0.3", "params=30%"),
        ("macs:50%", "macs=50%"),
        ("macs 50%", "macs=50%"),
        ("50% macs", "macs=50%"),
        ("50% of the MACs", "macs=50%"),
        ("50 percent", "macs=50%"),
        ("MACs=50%", "macs=50%"),
        ("mac=50%", "macs=50%"),
        ("mcas=50%", "macs=50%"),
        ("flops=50%", "macs=50%"),
        ("FLOPs=10G", "macs=5G"),
        ("parameters=25M", "params=25M"),
        ("25M", "params=25M or macs=25M"),
        ("12ms", "latency=12ms"),
        ("40MB", "memory=40MB"),
        ("size=40MB", "memory=40MB"),
        ("memory=40M", "memory=40MB"),
        ("memory=1KiB", "memory=1024B"),
        ("latency=12", "latency=12ms"),
        ("latency=12 msec", "latency=12ms"),
        ("time=12ms", "latency=12ms"),
        ("macs=50", "macs=50% or macs=50M"),
        ("macs=5e9", "macs=5000000000"),
        ("macs=3GMACs", "macs=3G"),
        ("macs=3g", "macs=3G"),
        ("params=1B", "params=1G"),
        ("macs==50%", "macs=50%"),
        ("macs<=50%", "macs=50%"),
        ("macs=-5%", "macs=95% or macs=5%"),
        ("macs=50% params=25M", "macs=50%,params=25M"),
        ("fronted.macs=40%", "frontend.macs=40%"),
        ("macs.frontend=40%", "frontend.macs=40%"),
        ("frontend=40%", "frontend.macs=40%"),
        ("latency=12ms,thread=2", "threads=2"),
        ("macs=５０%", "macs=50%"),
    ],
)
def test_a_refusal_names_what_was_meant_in_one_line(given_text, meant):
    with pytest.raises(BudgetError) as refused:
        parse_budget(given_text)
    assert f"did you mean {meant}? " in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        *("macs=120%", "macs=nan", "macs=inf", "macs=0", "macs=0%", "macs=", "=50%", "macs", "half", "2x"),
        *("macs=" + "9" * 309, "macs=" + "9" * 100_000, "macs=10000000T", "params=9223372036854775808"),
        *("", " ", ",", "macs=50%,", "macs=50%,,params=50%", "macs=50%,macs=40%", "macs=1,5G", "macs=½"),
        *("macs=50%\n\nparams=x", "macs=50%@cpu", "hidden.macs=50%", "encoder.memory=50%", "a" * 100_000),
        *(
            "latency=9ms,seconds=inf",
            "latency=9ms,seconds=1e5",
            "latency=9ms,threads=1_0",
            "memory=9MB,threads=2",
        ),
        *("latency=9ms,threads=٣", "latency=9ms,dtype=int8", "seconds=5", "latency=9ms,seconds=" + "9" * 399),
        *(None, 50, True, ["macs=50%"], b"macs=50%"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(text):
    with pytest.raises(BudgetError) as refused:
        parse_budget(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500
    assert "macs=" in str(refused.value) or "wanted" in str(refused.value)


def test_no_suggestion_is_refused_itself():
    generator = random.Random(0)
    words = [
        "macs",
        "MACs",
        "params",
        "latency",
        "memory",
        "frontend",
        "50",
        "0.5",
        "%",
        "M",
        "ms",
        "=",
        ":",
        " ",
        "-",
    ]
    suggested = 0
    for _ in range(3_000):
        text = "".join(
            generator.choices([*words, generator.choice(string.printable)], k=generator.randint(1, 5))
        )
        try:
            parse_budget(text)
        except BudgetError as error:
            _, said, rest = str(error).partition("did you mean ")
            for each in rest.partition("? ")[0].split(" or ") if said else []:
                suggested += 1
                parse_budget(each)
    assert suggested > 300


@pytest.mark.parametrize(
    ("text", "amount", "at"),
    [
        ("memory=40MB", 40_000_000, Conditions()),
        ("memory=1.5GB,dtype=float16", 1_500_000_000, Conditions(dtype="float16")),
        ("memory=30%", 0.3, Conditions()),
        ("latency=12ms", 12_000_000, Conditions()),
        ("latency=0.5s@cuda,seconds=5", 500_000_000, Conditions("cuda", 1, 5.0)),
        ("latency=50%@cpu,threads=2,seconds=5,dtype=bfloat16", 0.5, Conditions("cpu", 2, 5.0, "bfloat16")),
    ],
)
def test_memory_and_latency_are_read_with_their_conditions(text, amount, at):
    (constraint,) = parse_budget(text)
    assert (constraint.amount, constraint.at) == (amount, at)
    assert parse_budget(str(constraint)) == (constraint,)


def test_options_belong_to_the_constraint_before_them():
    latency, macs, memory = parse_budget("latency=9ms@cpu,threads=2,macs=50%,memory=40MB,dtype=float16")
    assert (latency.at.threads, latency.at.dtype) == (2, "float32")
    assert macs.at == Conditions()
    assert memory.at.dtype == "float16"


@pytest.mark.parametrize(
    ("text", "at", "printed"),
    [
        (
            "latency=50%@cpu,runtime=onnx-int8,threads=1,seconds=5",
            Conditions(seconds=5.0, runtime="onnx-int8"),
            "latency=50%@cpu,threads=1,runtime=onnx-int8,seconds=5",
        ),
        ("latency=50%,runtime=eager", Conditions(), "latency=50%@cpu,threads=1"),
        ("latency=5ms,runtime=cuda", Conditions("cuda"), "latency=5ms@cuda,threads=1"),
        (
            "latency=5ms,runtime=cuda-graphs",
            Conditions("cuda", runtime="cuda-graphs"),
            "latency=5ms@cuda,threads=1,runtime=cuda-graphs",
        ),
        ("memory=40MB,runtime=openvino", Conditions(runtime="openvino"), "memory=40MB,runtime=openvino"),
    ],
)
def test_a_latency_and_a_memory_may_name_a_runtime(text, at, printed):
    (found,) = parse_budget(text)
    assert (found.at, str(found)) == (at, printed)
    assert parse_budget(printed) == (found,)


def test_several_runtimes_may_be_named_at_once():
    first, second, third = parse_budget("latency=12ms,runtime=onnx-int8,latency=5ms@cuda,macs=50%")
    assert (first.at.runtime, first.at.device) == ("onnx-int8", "cpu")
    assert (second.at.runtime, second.at.device) == ("eager", "cuda")
    assert third.metric == "macs"
    with pytest.raises(BudgetError, match="may come once for each runtime"):
        parse_budget("latency=12ms,runtime=onnx,latency=50%,runtime=onnx")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latency=50%,runtime=onnx-int", "did you mean 'onnx-int8'"),
        ("latency=50%,runtime=", "wanted one of eager"),
        ("latency=50%@cuda,runtime=openvino", "openvino is measured @cpu only, not @cuda"),
        ("latency=50%@cpu,runtime=cuda-graphs", "cuda-graphs is measured @cuda only, not @cpu"),
        ("latency=50%,runtime=onnx,dtype=bfloat16", "decides the dtype itself"),
        ("memory=40MB,runtime=compile", "opens no exported file"),
        ("macs=50%,runtime=onnx", "must follow the term"),
    ],
)
def test_a_runtime_that_cannot_be_meant_is_refused(text, words):
    with pytest.raises(BudgetError, match=words):
        parse_budget(text)


def test_a_semicolon_stands_between_terms_as_well():
    both = "latency=12ms@cpu,runtime=onnx-int8,threads=1", "latency=5ms@cuda"
    assert parse_budget("; ".join(both)) == parse_budget(",".join(both))
    for wrong in ("macs=50%;", "macs=50%;threads=2", ";macs=50%"):
        with pytest.raises(BudgetError):
            parse_budget(wrong)
