"""Import checkpoints of other pruning tools as models of transformers with the same outputs."""

from prune_ssl.importing.checkpoints import Imported, import_checkpoint

__all__ = ["Imported", "import_checkpoint"]
