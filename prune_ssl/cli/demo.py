"""prune-ssl demo: prune the shipped model on the shipped words, offline, in minutes."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.options import Overwrite, as_yaml, check_folder
from prune_ssl.cli.run import show


@one_line_errors
def demo_command(
    out: Annotated[Path, typer.Option(help="Folder for the model and the report.")] = Path("runs/demo"),
    budget: Annotated[str, typer.Option(help="The amount to keep: macs=50%, params=1M.")] = "macs=50%",
    overwrite: Overwrite = False,
) -> None:
    """Prune the shipped keyword model to half of its MACs, offline (HJ-Pruning-MAC with distillation)."""
    check_folder(out)
    from prune_ssl.pipeline import run
    from prune_ssl.recipes import load_recipe

    assets = resources.files("prune_ssl") / "assets"
    with resources.as_file(assets) as folder:
        overrides = [
            f"model.name={as_yaml(folder / 'demo_model')}",
            f"data.path={as_yaml(folder / 'words')}",
            f"pruning.budget={as_yaml(budget)}",
            f"output={as_yaml(str(out).replace('{', '{{').replace('}', '}}'))}",
        ]
        recipe = load_recipe(folder / "demo.yaml", overrides)
        say(
            "The demo prunes a small HuBERT that recognises twelve spoken words, on synthetic speech. Model "
            "and data are part of the package."
        )
        show(run(recipe, overwrite, say))
