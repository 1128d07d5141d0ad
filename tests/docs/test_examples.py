"""The examples of the docs run as they stand and do what the text says."""

import ast
import importlib
import re
import shlex

import pytest
import torch
import typer
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl.cli.app import app
from tests.support.models import tiny_model
from tests.support.paths import ROOT
from tests.support.training import Tones

DOCS, README = ROOT / "docs", ROOT / "README.md"
# Of Lightning's own code beside torch 2.11.
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")


def run_blocks(name):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL):
        exec(compile(block, name, "exec"), names)
    return names


@pytest.fixture(scope="module")
def loop():
    return run_blocks("any_loop.md")


def test_the_plain_loop_meets_its_budget_and_the_small_model_learned(loop):
    assert 0.4 < loop["kept"] <= 0.5
    assert loop["graph"].cost(loop["plan"].keep, seconds=1.0).macs == round(
        loop["kept"] * loop["graph"].cost(seconds=1.0).macs
    )
    assert right_of_40(loop, loop["small"]) >= 36


def right_of_40(loop, model):
    with torch.no_grad():
        return sum(
            int((model.eval()(**batch).logits.argmax(-1) == batch["labels"]).sum())
            for batch in loop["batches"](10)
        )


def test_lightning_trains_gates_to_the_budget(loop):
    gates, dense = loop["module"].gates, loop["graph"].cost(seconds=1.0).macs
    assert loop["trainer"].global_step == gates.lagrangian.steps == loop["steps"]
    assert float(gates.log_alpha.detach().std()) > 0.1  # they were trained apart
    assert float(gates.expected().detach()) == pytest.approx(
        gates.lagrangian.target(loop["steps"])[0], abs=0.03
    )
    assert 0.4 * dense < prune_ssl.trace(loop["lightning_small"]).cost(seconds=1.0).macs <= 0.5 * dense
    assert right_of_40(loop, loop["lightning_small"]) >= 36
    assert not [m for m in loop["dense"].modules() if hasattr(m, "prune_ssl_gate")]


def test_a_lightning_checkpoint_holds_all_that_gates_need(loop, tmp_path):
    loop["trainer"].save_checkpoint(tmp_path / "all.ckpt")
    saved = torch.load(tmp_path / "all.ckpt", weights_only=True)["state_dict"]
    model = type(loop["model"])(loop["config"])
    again = loop["Pruning"](model, loop["graph"], loop["pruning"])
    assert again.gates.finalize(untrained=True) != loop["lightning_plan"]
    again.load_state_dict(saved)
    assert again.gates.finalize() == loop["lightning_plan"]
    state, found = loop["module"].gates.get_extra_state(), again.gates.get_extra_state()
    assert found == state
    assert state["task_pull"] > 0


def test_the_plain_loop_leaves_the_model_without_gates(loop):
    assert not [m for m in loop["model"].modules() if hasattr(m, "prune_ssl_gate")]


def test_the_one_shot_example_meets_its_budget(loop):
    whole = loop["graph"].cost(seconds=1.0).macs
    assert loop["graph"].cost(loop["keep"], seconds=1.0).macs <= 0.5 * whole
    assert sum(p.numel() for p in loop["cut_once"].parameters()) < sum(
        p.numel() for p in loop["model"].parameters()
    )


@pytest.mark.parametrize(
    "name", ["get_started.md", "concepts.md", "choosing.md", "deploying.md", "pruning_again.md", "faq.md"]
)
def test_the_blocks_of_a_page_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(name)  # they assert what the text says


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """What the ten lines of the README make, of a tiny model and tones, in few steps."""
    place = tmp_path_factory.mktemp("readme")
    given = place / "given"
    tiny_model("wav2vec2", "ForSequenceClassification", num_labels=12).save_pretrained(given)
    Wav2Vec2FeatureExtractor().save_pretrained(given)
    (ten_lines,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    for before, after in (
        ('"facebook/wav2vec2-base"', repr(str(given))),
        ('"out', f'"{place}/out'),
        ("max_steps=5000", "max_steps=6, use_cpu=True, report_to=[], save_strategy='no', disable_tqdm=True"),
    ):
        assert before in ten_lines
        ten_lines = ten_lines.replace(before, after)
    tones = Tones(8)
    names: dict = {"train_set": tones, "test_set": tones, "collator": None}
    exec(compile(ten_lines, "README.md", "exec"), names)
    return {"folder": place / "out", "dense": names["dense"]}


@pytest.mark.slow
def test_the_ten_lines_of_the_readme_leave_a_model_with_its_extractor_and_a_report(readme):
    loaded = prune_ssl.load_pretrained(readme["folder"] / "model")
    assert Wav2Vec2FeatureExtractor.from_pretrained(readme["folder"] / "model").sampling_rate == 16_000
    costs = [prune_ssl.trace(each).cost().macs for each in (loaded, readme["dense"])]
    assert costs[0] <= 0.5 * costs[1]
    page = (readme["folder"] / "report.html").read_text(encoding="utf-8")
    assert "dense" in page


def test_the_first_screen_of_the_readme_says_how_to_install_and_what_to_run():
    screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:45])
    for words in ("pip install git+", ".whl", "dense=null", "prune-ssl recipes", "prune-ssl export"):
        assert words in screen


def test_the_readme_can_be_read_in_two_minutes():
    assert README.stat().st_size <= 6_000


PAGES = sorted([README, *DOCS.glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        if not link.startswith(("http://", "https://", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_index_leads_to_every_page():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, page.name


COMMANDS = re.compile(r"^    (?:torchrun .* )?prune-ssl +([a-z]+)", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_there(page):
    known = {command.name for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    assert set(COMMANDS.findall(page.read_text(encoding="utf-8"))) <= known


def test_the_words_behind_a_recipe_of_the_readme_are_overrides():
    program = typer.main.get_command(app)
    found = [
        shlex.split(each) for each in re.findall(r"`prune-ssl ([^`]+)`", README.read_text(encoding="utf-8"))
    ]
    assert len(found) > 12
    for name, *words in found:
        command = program.commands[name]
        given = command.make_context(name, [each.replace("I/N", "1/2") for each in words]).params
        assert all("=" in each for each in given.get("overrides") or []), (name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_names_in_every_block_of_a_page_are_there(page):
    """Fragments too, which stand for a part of a program and aren't run."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("prune_ssl"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, each.name) for each in node.names), ast.unparse(node)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "prune_ssl":
                assert hasattr(prune_ssl, node.attr), node.attr


def test_the_optimised_model_of_the_page_only_computes():
    assert not run_blocks("optimised.md")["fast"].training
