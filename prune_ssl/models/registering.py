"""register_family(): makes an architecture known, with its pruned classes and its x-vector head."""

from prune_ssl.errors import ModelError
from prune_ssl.models.family import Family
from prune_ssl.models.pruned import define_classes
from prune_ssl.models.registry import FAMILIES
from prune_ssl.models.xvector import define_xvector


def register_family(family: Family) -> Family:
    """Make a family known to tracing, resizing, loading and saving; return it.

    Its stock classes get pruned ones, which the Auto classes of transformers know too.

    Args:
        family: what there is to know of the architecture; docs/add_a_family.md walks through one.

    Raises:
        ModelError: another family has this name.
    """
    known = FAMILIES.get(family.name)
    if known is not None:
        if known == family:
            return known
        raise ModelError(f"there is a family {family.name!r} already; give yours another name.")
    FAMILIES[family.name] = family
    if family.classes is not None:
        define_xvector(family)
        define_classes(family)
    return family
