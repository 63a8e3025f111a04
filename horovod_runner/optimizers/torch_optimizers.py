"""The optimizers in PyTorch, in place and over all parameters at once; rules.py defines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import torch

from horovod_runner.optimizers.rules import RULES, STEP, require_names, rule_name

if TYPE_CHECKING:
    from horovod_runner.config import OptimizerConfig

Tensors = list[torch.Tensor]


class Optimizer:
    """Update parameters from their `.grad`.

    `decayed` names the parameters that weight decay applies to (rules.decayed_names).
    """

    def __init__(
        self, config: OptimizerConfig, named_parameters: Mapping[str, torch.Tensor], decayed: AbstractSet[str]
    ) -> None:
        self.config = config
        self._steps = torch.zeros((), dtype=torch.int64)
        self._parameters = dict(named_parameters)
        self._decayed = [name for name in self._parameters if name in decayed and config.weight_decay]
        self._rule, self._update = RULES[rule_name(config)], _UPDATES[rule_name(config)]
        # zeros_like keeps a parameter's memory format, so that updates walk both in the same order.
        values = [p.detach() for p in self._parameters.values()]
        self._slots = {slot: [torch.zeros_like(p) for p in values] for slot in self._rule.slots}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Make one step; weight decay goes into `.grad` in place. RuntimeError names a parameter without gradient."""
        weights = list(self._parameters.values())
        gradients = [_gradient(name, p) for name, p in self._parameters.items()]
        self._steps += 1
        if self._decayed:
            chosen = [self._parameters[name] for name in self._decayed]
            torch._foreach_add_([_gradient("", p) for p in chosen], chosen, alpha=self.config.weight_decay)
        self._update(self.config, weights, gradients, self._slots, int(self._steps), lr)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors themselves, to be copied into: `<slot>/<parameter>`, and `step` if the rule counts."""
        named = {
            f"{slot}/{name}": value
            for slot, values in self._slots.items()
            for name, value in zip(self._parameters, values, strict=True)
        }
        return named | ({STEP: self._steps} if self._rule.counts_steps else {})

    @torch.no_grad()
    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Copy a state of the same names and shapes in; ValueError names what does not fit, and nothing is changed."""
        own = self.state()
        require_names(state, own)
        wrong = [name for name, value in own.items() if state[name].shape != value.shape]
        if wrong:
            shapes = tuple(state[wrong[0]].shape), tuple(own[wrong[0]].shape)
            raise ValueError(f"optimizer state: {wrong[0]} has shape {shapes[0]}, but it must be {shapes[1]}")
        for name, value in own.items():
            value.copy_(state[name])


def _gradient(name: str, parameter: torch.Tensor) -> torch.Tensor:
    if parameter.grad is None:
        raise RuntimeError(f"{name} has no gradient: run the backward pass before the optimizer's step")
    return parameter.grad


Update = Callable[["OptimizerConfig", Tensors, Tensors, dict[str, Tensors], int, float], None]


def _sgd(c: OptimizerConfig, w: Tensors, g: Tensors, slots: dict[str, Tensors], t: int, lr: float) -> None:
    v = slots["momentum"]
    torch._foreach_mul_(v, c.momentum)
    torch._foreach_add_(v, g)
    torch._foreach_add_(w, v, alpha=-lr)


def _nesterov(c: OptimizerConfig, w: Tensors, g: Tensors, slots: dict[str, Tensors], t: int, lr: float) -> None:
    v = slots["momentum"]
    torch._foreach_mul_(v, c.momentum)
    torch._foreach_add_(v, g)
    torch._foreach_add_(w, g, alpha=-lr)
    torch._foreach_add_(w, v, alpha=-lr * c.momentum)


def _adam(c: OptimizerConfig, w: Tensors, g: Tensors, slots: dict[str, Tensors], t: int, lr: float) -> None:
    m, v = slots["exp_avg"], slots["exp_avg_sq"]
    torch._foreach_lerp_(m, g, 1 - c.beta1)
    torch._foreach_mul_(v, c.beta2)
    torch._foreach_addcmul_(v, g, g, 1 - c.beta2)
    root = torch._foreach_sqrt(v)
    torch._foreach_div_(root, (1 - c.beta2**t) ** 0.5)
    torch._foreach_add_(root, c.epsilon)
    torch._foreach_addcdiv_(w, m, root, -lr / (1 - c.beta1**t))


_UPDATES: dict[str, Update] = {"sgd": _sgd, "nesterov": _nesterov, "adam": _adam}
