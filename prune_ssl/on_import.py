"""Acts at the import of other modules: it registers families and classes when they can first be needed.

`import prune_ssl` imports neither torch nor transformers. So stand-ins of the pruned classes become known to
transformers when its Auto classes are imported, and the families when the room of models is.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

MODEL_TYPES = (
    *("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew", "sew-d"),
    *("wav2vec2-conformer", "wav2vec2-bert", "omniasr_audio", "whisper"),
)
"""The model types of transformers that have pruned classes. The table of families has the same names."""
XVECTORS = {
    "hubert": "HubertForXVector",
    "unispeech": "UniSpeechForXVector",
    "sew": "SEWForXVector",
    "sew-d": "SEWDForXVector",
}
"""Model type -> its x-vector class, where transformers has none."""

Action = Callable[[], object]


class _Watcher(MetaPathFinder):
    """Finds no module itself. It lets the import of some modules end with an action."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        actions = self.actions.pop(fullname, None)
        if actions is None:
            return None
        spec = find_spec(fullname)  # the other finders are asked, since this one no longer knows the name
        if spec is None or spec.loader is None:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            for action in actions:
                action()

        loader.exec_module = execute_and_act
        return spec


_WATCHER = _Watcher()


def after_import(module: str, action: Action) -> None:
    """Do something once, as soon as a module has been imported; now, if it is imported already."""
    found = sys.modules.get(module)
    if found is not None:
        action()
        return
    if _WATCHER not in sys.meta_path:
        sys.meta_path.insert(0, _WATCHER)
    _WATCHER.actions.setdefault(module, []).append(action)


class _Deferred(type):
    """The class of stand-ins: whoever uses one gets the class that it stands for, made at that moment."""

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        return _real_class(cls)(*args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return getattr(_real_class(cls), name)


def _stand_in(name: str, place: tuple[str, str, str], **known: object) -> type:
    """Return a stand-in for the class at `place` (module, table in it, key) with the attributes it knows."""
    # transformers asks for the module of a class, to tell its own classes from others.
    return _Deferred(name, (), {**known, "place": place, "__module__": __name__})


def _real_class(stand_in: type) -> Any:
    import_module("prune_ssl.families")
    module, table, key = vars(stand_in)["place"]
    return getattr(import_module(module), table)[key]


def defer_configs() -> None:
    """Make the model types of pruned models known to AutoConfig, without the classes themselves.

    The families replace the stand-ins when they are imported. Making a config imports them, so that the
    pruned model classes are known before any is looked for.
    """
    auto = import_module("transformers.models.auto.configuration_auto").AutoConfig
    for name in MODEL_TYPES:
        place = "prune_ssl.models.pruned", "CONFIGS", name
        kind = f"pruned_{name}"
        auto.register(kind, _stand_in(f"Pruned_{name}", place, model_type=kind), exist_ok=True)


def defer_xvectors() -> None:
    """Make the x-vector models that transformers lacks known to its Auto class, without their classes."""
    configs = import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    auto = import_module("transformers.models.auto.modeling_auto").AutoModelForAudioXVector
    for model_type, name in XVECTORS.items():
        place, config = ("prune_ssl.models.xvector", "XVECTOR_CLASSES", name), configs[model_type]
        auto.register(config, _stand_in(name, place, config_class=config), exist_ok=True)


def register_families() -> None:
    """Import the table of families."""
    import_module("prune_ssl.families")


def judge_strangers() -> None:
    """Let the tracer ask the room of resizing, which is built on it, for the law of strangers."""

    def law(*arguments: object) -> object:
        return import_module("prune_ssl.resizing.law").broken_groups(*arguments)

    import_module("prune_ssl.tracing.strangers").judge_with(law)


def watch() -> None:
    """Wait for the imports after which something has to be registered."""
    after_import("transformers.models.auto.configuration_auto", defer_configs)
    after_import("transformers.models.auto.modeling_auto", defer_xvectors)
    after_import("prune_ssl.models", register_families)
    after_import("prune_ssl.tracing.strangers", judge_strangers)
