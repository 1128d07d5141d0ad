"""prune-ssl push: upload a model folder to the Hugging Face hub."""

import json
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.errors import ArtifactError


@one_line_errors
def push_command(
    folder: Annotated[Path, typer.Argument(help="Model folder that `run`, `prune` or `import` wrote.")],
    name: Annotated[str, typer.Argument(help="Name on the hub: OWNER/MODEL.")],
    private: Annotated[bool, typer.Option(help="Make the model private.")] = False,
    message: Annotated[str, typer.Option(help="Message of the commit.")] = "Upload by prune-ssl push",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and list the files, but upload nothing.")
    ] = False,
) -> None:
    """Upload a model folder to the Hugging Face hub, after loading it and checking its card.

    The token is the one of `hf auth login`, or the value of the variable HF_TOKEN.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError
    from huggingface_hub.utils._validators import validate_repo_id

    from prune_ssl.artifacts import load_pretrained

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ArtifactError(f"{name!r:.120} is not a valid name for the hub: {error}") from error
    if "/" not in name:
        raise ArtifactError(f"{name}: wanted OWNER/MODEL, such as your-name/{name}.")
    load_pretrained(folder)
    _check_card(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files if dry_run else ():
        say(f"{path.relative_to(folder)}: {path.stat().st_size:,} bytes")
    if dry_run:
        return
    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    except LocalTokenNotFoundError as error:
        raise ArtifactError("there is no token for the hub. Run `hf auth login`, or set HF_TOKEN.") from error
    except Exception as error:  # without a network the library below the hub's client raises its own
        words = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ArtifactError(f"{name} could not be uploaded: {words[:300]}") from error
    say(f"uploaded {len(files)} files: {done.commit_url}")


def _check_card(folder: Path) -> None:
    """Refuse a model card whose metadata the hub could not read. A folder without a card gets a note.

    Raises:
        ArtifactError: the metadata are not YAML, or not a mapping.
    """
    from huggingface_hub import ModelCard

    from prune_ssl.artifacts.companions import CARD

    card = folder / CARD
    if not card.is_file():
        say(f"note: {folder} has no {CARD}, so the hub will show an empty card")
        return
    try:
        json.dumps(ModelCard.load(card).data.to_dict(), default=str)
    except Exception as error:  # YAML and the hub raise many kinds of errors
        words = " ".join(str(error).split())[:300]
        raise ArtifactError(f"the metadata at the head of {card} cannot be read: {words}") from error
