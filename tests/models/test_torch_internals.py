"""Hooks of every kind are listed and dropped, of the module itself only."""

from torch import nn

from prune_ssl.models.torch_internals import drop_hooks, hooks_of


def first(*args: object) -> None: ...
def second(*args: object) -> None: ...


def hooked() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_forward_hook(first)
    model.register_forward_pre_hook(second)
    model.register_full_backward_hook(first)
    model.register_full_backward_pre_hook(second)
    model[0].register_forward_hook(first)
    return model


def test_hooks_of_every_kind_are_listed() -> None:
    names = sorted(hook.__name__ for hook in hooks_of(hooked()))
    assert names == ["first", "first", "second", "second"]


def test_only_the_chosen_hooks_of_the_module_itself_are_dropped() -> None:
    model = hooked()
    drop_hooks(model, lambda hook: hook is first)
    assert list(hooks_of(model)) == [second, second]
    drop_hooks(model)
    assert not list(hooks_of(model))
    assert list(hooks_of(model[0])) == [first]
