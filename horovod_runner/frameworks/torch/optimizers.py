"""The optimizers in PyTorch, in place and over many parameters at once; rules.py defines them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from horovod_runner.optimizers.rules import RULES, Moment, correction, initial_memory, require_names, rule_name

if TYPE_CHECKING:
    from horovod_runner.config.settings import OptimizerConfig

Tensors = list[torch.Tensor]
Slots = dict[str, Tensors]

# A rule passes several times over its arrays. On CPUs they are taken in blocks of so many bytes of weights, which stay
# in the cache from one pass to the next; on GPUs few launches count, and as many as possible go together.
CPU_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True)
class Block:
    """Parameters that are updated together, all of them decayed or none, and their slots in the same order."""

    parameters: dict[str, torch.Tensor]
    slots: Slots
    decayed: bool

    def gradients(self) -> Tensors:
        """Return the gradients themselves; RuntimeError names a parameter without one."""
        return [_gradient(name, parameter) for name, parameter in self.parameters.items()]


class Optimizer:
    """Update parameters from their `.grad`.

    `decayed` names the parameters that decay and trust ratios apply to (rules.decayed_names).
    """

    def __init__(
        self, config: OptimizerConfig, named_parameters: Mapping[str, torch.Tensor], decayed: AbstractSet[str]
    ) -> None:
        self.config = config
        self._names = list(named_parameters)
        self._rule, self._update = RULES[rule_name(config)], _UPDATES[rule_name(config)]
        self._memory = {name: torch.from_numpy(zero) for name, zero in initial_memory(self._rule).items()}
        self._blocks = [
            self._block(part, kind)
            for kind in (True, False)
            for part in _parts({name: p for name, p in named_parameters.items() if (name in decayed) == kind})
        ]

    def _block(self, parameters: dict[str, torch.Tensor], decayed: bool) -> Block:
        # zeros_like keeps a parameter's memory format, so that updates walk both in the same order.
        values = [p.detach() for p in parameters.values()]
        return Block(parameters, {slot: [torch.zeros_like(p) for p in values] for slot in self._rule.slots}, decayed)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Make one step, which changes `.grad` too; RuntimeError names a parameter without gradient."""
        gradients = [block.gradients() for block in self._blocks]
        if self.config.clip_norm is not None:
            _clip([g for part in gradients for g in part], self.config.clip_norm)
        now = self._advance(lr)
        for block, g in zip(self._blocks, gradients, strict=True):
            w = list(block.parameters.values())
            if self._rule.l2 and block.decayed:
                _add_decay(self.config, g, w)
            self._update(self.config, now, w, g, block.slots, block.decayed)

    def _advance(self, lr: float) -> Moment:
        now = Moment.after({name: value.item() for name, value in self._memory.items()}, lr)
        for name, value in self._memory.items():
            value.fill_(now.memory()[name])
        return now

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors themselves, to be copied into: `<slot>/<parameter>`, and what the rule remembers."""
        named = {
            f"{slot}/{name}": value
            for block in self._blocks
            for slot, values in block.slots.items()
            for name, value in zip(block.parameters, values, strict=True)
        }
        names = [f"{slot}/{name}" for slot in self._rule.slots for name in self._names]
        return {name: named[name] for name in names} | self._memory

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


def _parts(parameters: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Divide parameters into blocks, in order; one that is larger than a block has one of its own."""
    part: dict[str, torch.Tensor] = {}
    room = CPU_BLOCK_BYTES
    for name, parameter in parameters.items():
        size = parameter.numel() * parameter.element_size() if parameter.device.type == "cpu" else 0
        if part and size > room:
            yield part
            part, room = {}, CPU_BLOCK_BYTES
        part[name] = parameter
        room -= size
    if part:
        yield part


def _gradient(name: str, parameter: torch.Tensor) -> torch.Tensor:
    """Return a parameter's gradient, in the parameter's order of memory: fused kernels know no other."""
    if parameter.grad is None:
        raise RuntimeError(f"{name} has no gradient: run the backward pass before the optimizer's step")
    if _order(parameter.grad) != _order(parameter):
        parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
    return parameter.grad


def _order(tensor: torch.Tensor) -> list[int]:
    """Return the strides, but for axes of length 1, whose strides mean nothing."""
    return [stride for stride, length in zip(tensor.stride(), tensor.shape, strict=True) if length > 1]


def _clip(gradients: Tensors, largest: float) -> None:
    """Scale all gradients so that their common norm is at most `largest`; the norm is not waited for."""
    norm = torch.linalg.vector_norm(_norms(gradients))
    torch._foreach_mul_(gradients, (largest / norm).clamp(max=1.0))


def _add_decay(c: OptimizerConfig, x: Tensors, w: Tensors) -> None:
    if c.weight_decay:
        torch._foreach_add_(x, w, alpha=c.weight_decay)


Update = Callable[["OptimizerConfig", Moment, Tensors, Tensors, Slots, bool], None]


def _sgd(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    v = slots["momentum"]
    torch._foreach_mul_(v, c.momentum)
    torch._foreach_add_(v, g)
    torch._foreach_add_(w, v, alpha=-now.lr)


def _nesterov(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    v = slots["momentum"]
    torch._foreach_mul_(v, c.momentum)
    torch._foreach_add_(v, g)
    torch._foreach_add_(w, g, alpha=-now.lr)
    torch._foreach_add_(w, v, alpha=-now.lr * c.momentum)


def _absorbed(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    v = slots["momentum"]
    torch._foreach_mul_(v, c.momentum * correction(c, now))
    torch._foreach_add_(v, g, alpha=now.lr)
    torch._foreach_sub_(w, v)


def _absorbed_nesterov(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    v = slots["momentum"]
    torch._foreach_mul_(v, c.momentum * correction(c, now))
    torch._foreach_add_(v, g, alpha=now.lr)
    torch._foreach_add_(w, g, alpha=-now.lr)
    torch._foreach_add_(w, v, alpha=-c.momentum)


def _lars(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    if decayed:
        ratios = _ratios(w, g, c.trust_coefficient, c.weight_decay)
        _add_decay(c, g, w)
        torch._foreach_mul_(g, ratios)
    _sgd(c, now, w, g, slots, decayed)


def _subtract_direction(c: OptimizerConfig, now: Moment, x: Tensors, lr: float, g: Tensors, slots: Slots) -> None:
    """Move both slots, and x <- x - lr r, in one pass over memory."""
    torch._fused_adam_(
        x,
        g,
        slots["exp_avg"],
        slots["exp_avg_sq"],
        max_exp_avg_sqs=[],
        state_steps=[torch.tensor(float(now.t), device=x[0].device)] * len(x),
        lr=lr,
        beta1=c.beta1,
        beta2=c.beta2,
        weight_decay=0.0,
        eps=c.epsilon,
        amsgrad=False,
        maximize=False,
    )


def _adam(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    _subtract_direction(c, now, w, now.lr, g, slots)


def _adamw(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    if decayed:
        torch._foreach_mul_(w, 1 - now.lr * c.weight_decay)
    _subtract_direction(c, now, w, now.lr, g, slots)


def _lamb(c: OptimizerConfig, now: Moment, w: Tensors, g: Tensors, slots: Slots, decayed: bool) -> None:
    if not decayed:
        return _adam(c, now, w, g, slots, decayed)
    u = list(torch._foreach_mul(w, c.weight_decay))
    _subtract_direction(c, now, u, -1.0, g, slots)
    torch._foreach_addcmul_(w, u, _ratios(w, u), -now.lr)


def _ratios(w: Tensors, x: Tensors, coefficient: float = 1.0, decay: float = 0.0) -> Tensors:
    """Return every array's trust ratio, coefficient |w| / (|x| + decay |w|), or 1 where |w| or |x| is 0."""
    weight, step = _norms(w), _norms(x)
    ratio = coefficient * weight / (step + decay * weight)
    return list(torch.where((weight > 0) & (step > 0), ratio, 1.0).unbind())


def _norms(arrays: Tensors) -> torch.Tensor:
    """Return every array's norm as that of the norms along its first axis.

    The kernel for CPUs adds up one after the other: in float32 two million squares are off by 4e-5 in one go, and by
    4e-8 in two.
    """
    rows = [torch.linalg.vector_norm(x, dim=tuple(range(1, x.ndim)) or None) for x in arrays]
    return torch.stack(torch._foreach_norm(rows))


_UPDATES: dict[str, Update] = {
    "sgd": _sgd,
    "nesterov": _nesterov,
    "absorbed sgd": _absorbed,
    "absorbed nesterov": _absorbed_nesterov,
    "adam": _adam,
    "adamw": _adamw,
    "lars": _lars,
    "lamb": _lamb,
}
