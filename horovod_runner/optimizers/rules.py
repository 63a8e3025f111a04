"""The definition of every optimizer, in NumPy: executable, and what both implementations are tested against.

w is a parameter, g its gradient, lr the step's learning rate, t the step's number from 1, |x| the Euclidean norm of a
whole array. A step clips all gradients together, adds L2 decay, and updates every parameter by its rule:

clip
    g <- min(1, clip_norm / n) g, with n the norm of all gradients as one vector, after they are reduced (Pascanu et al.
    2013, algorithm 1). torch.nn.utils.clip_grad_norm_ is the same but for 1e-6, which it adds to n.

decay
    g <- g + weight_decay w, for kernels only, or for everything with `decay_norm`. This is L2 regularisation, added
    once to the gradient; the reported loss does not contain it. adamw, lars and lamb decay in ways of their own, below.

sgd
    v <- momentum v + g;  w <- w - lr v. Velocity in units of the gradient (Goyal et al. 2017, eq. 9; PyTorch): a change
    of the learning rate acts at once.

nesterov
    v as above;  w <- w - lr (g + momentum v) (Sutskever et al. 2013 as rewritten by Bengio et al. 2012, eq. 7;
    PyTorch).

sgd and nesterov with `velocity: absorbed`
    v <- momentum v + lr g;  w <- w - v, or with nesterov w <- w - (momentum v + lr g). The velocity absorbs the
    learning rate (Goyal et al. 2017, eq. 10; Keras, with the opposite sign). With `momentum_correction` v is first
    multiplied by lr over the last step's lr (remark 2), which makes the weights those of sgd and nesterov, as long as
    no rate is 0; without it they part when the rate changes.

adam
    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  r = m_hat / (sqrt(v_hat) + epsilon);  w <- w - lr r, with
    m_hat = m / (1 - b1^t), v_hat = v / (1 - b2^t) (Kingma and Ba 2015, algorithm 1). Keras adds epsilon before the
    correction of v.

adamw
    r as in adam;  w <- w - lr (r + weight_decay w) (Loshchilov and Hutter 2019, algorithm 2; the decay is multiplied by
    the learning rate as well, as PyTorch has it).

lars
    g <- ratio (g + weight_decay w), then as sgd;  ratio = trust_coefficient |w| / (|g| + weight_decay |w|) (You et al.
    2017, arXiv:1708.03888, eq. 7 and algorithm 1). The paper's velocity absorbs the learning rate; here it is in units
    of the gradient, as everywhere: at a constant rate the two are the same.

lamb
    r as in adam;  u = r + weight_decay w;  w <- w - lr ratio u;  ratio = |w| / |u| (You et al. 2020,
    arXiv:1904.00962v5, algorithm 2, with its bias correction and phi the identity).

The ratios of lars and lamb adapt those arrays that decay applies to, whether or not weight_decay is 0. Every other
array has ratio 1 and no decay, as in the implementations that the papers came with: biases and normalisation have few
values and start at 0 or 1, so that their norms say little about their layer. The ratio is also 1 where |w|, or |g| in
lars and |u| in lamb, is 0: an array of zeros would otherwise never move.

Slots start at zero and have their parameter's shape and layout. The state of an optimizer is its slots under the names
`<slot>/<parameter>`, and what a rule remembers of the last step: `step`, its number, or `rate`, its learning rate (both
0 before the first).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.architecture import ArraySpec
    from horovod_runner.config.settings import OptimizerConfig

Array = np.ndarray
Slots = dict[str, np.ndarray]
STEP, RATE = "step", "rate"


@dataclass(frozen=True)
class Moment:
    """The scalars of one step: its rate, its number from 1, and the rate of the step before, 0 for the first.

    `t` and `last_lr` mean something only to rules that remember them. In TensorFlow they are scalar tensors.
    """

    lr: float
    t: int
    last_lr: float

    @classmethod
    def after(cls, memory: Mapping[str, Any], lr: float) -> Moment:
        """Return the step that follows the one whose scalars are remembered."""
        return cls(lr, memory.get(STEP, 0) + 1, memory.get(RATE, 0.0))

    def memory(self) -> dict[str, float]:
        """Return all that a rule may remember of this step."""
        return {STEP: self.t, RATE: self.lr}


Update = Callable[["OptimizerConfig", Moment, Array, Array, Slots, bool], tuple[Array, Slots]]


@dataclass(frozen=True)
class Rule:
    """A rule's update (config, moment, w, g, slots, decayed) -> (new w, new slots), and what it needs.

    `remembers` names the scalars it keeps of the last step, STEP or RATE. With `l2`, decay is in g already; without,
    the update itself decays the arrays that it is told are `decayed`.
    """

    slots: tuple[str, ...]
    remembers: tuple[str, ...]
    l2: bool
    update: Update


def rule_name(config: OptimizerConfig) -> str:
    """Return the key under which this and the frameworks' tables hold the configured rule."""
    if config.name != "sgd":
        return config.name
    form = "nesterov" if config.nesterov else "sgd"
    return form if config.velocity == "gradient" else f"{config.velocity} {form}"


def decayed_names(arrays: Iterable[ArraySpec], config: OptimizerConfig) -> frozenset[str]:
    """Return the parameters that weight decay applies to, and with it the ratios of lars and lamb.

    It is a matter of what they are for, not of how much they decay: the answer is the same if weight_decay is 0.
    """
    return frozenset(a.name for a in arrays if a.trainable and (a.is_kernel or config.decay_norm))


def state_names(config: OptimizerConfig, parameters: Iterable[str]) -> list[str]:
    """Return the names of an optimizer's whole state."""
    rule, parameters = RULES[rule_name(config)], list(parameters)
    return [f"{slot}/{name}" for slot in rule.slots for name in parameters] + list(rule.remembers)


def require_names(given: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ValueError that names what is missing from an optimizer's state, or not part of it."""
    given, expected = set(given), set(expected)
    if given != expected:
        missing, extra = sorted(expected - given), sorted(given - expected)
        raise ValueError(f"optimizer state: {len(missing)} missing {missing[:3]}, {len(extra)} unknown {extra[:3]}")


def initial_state(config: OptimizerConfig, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return zeros for every slot and every scalar."""
    rule = RULES[rule_name(config)]
    state = {f"{slot}/{name}": np.zeros_like(w) for slot in rule.slots for name, w in weights.items()}
    return state | initial_memory(rule)


def initial_memory(rule: Rule) -> dict[str, Array]:
    """Return the scalars that a rule remembers, before its first step: the number an int64, the rate a float64."""
    return {name: np.zeros((), np.int64 if name == STEP else np.float64) for name in rule.remembers}


def apply(
    config: OptimizerConfig,
    weights: Mapping[str, Array],
    gradients: Mapping[str, Array],
    state: Mapping[str, Array],
    decayed: Iterable[str],
    lr: float,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return all weights and the state after one step."""
    rule, decayed = RULES[rule_name(config)], set(decayed)
    now = Moment.after(state, lr)
    scale = 1.0 if config.clip_norm is None else clip_scale(config.clip_norm, gradients.values())
    new_weights: dict[str, Array] = {}
    new_state: dict[str, Array] = {}
    for name, w in weights.items():
        g = scale * gradients[name]
        if rule.l2 and name in decayed:
            g = g + config.weight_decay * w
        slots = {slot: state[f"{slot}/{name}"] for slot in rule.slots}
        new_weights[name], slots = rule.update(config, now, w, g, slots, name in decayed)
        new_state |= {f"{slot}/{name}": value for slot, value in slots.items()}
    return new_weights, new_state | {name: np.array(now.memory()[name]) for name in rule.remembers}


def clip_scale(clip_norm: float, gradients: Iterable[Array]) -> float:
    """Return what all gradients are multiplied by so that their common norm is at most clip_norm."""
    norm = float(np.sqrt(sum(np.sum(g**2) for g in gradients)))
    return 1.0 if norm <= clip_norm else clip_norm / norm


def correction(config: OptimizerConfig, now: Moment) -> float:
    """Return what an absorbed velocity is multiplied by before a step (Goyal et al. 2017, remark 2)."""
    return now.lr / now.last_lr if config.momentum_correction and now.last_lr else 1.0


def _sgd(c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool) -> tuple[Array, Slots]:
    v = c.momentum * s["momentum"] + g
    return w - now.lr * v, {"momentum": v}


def _nesterov(c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool) -> tuple[Array, Slots]:
    v = c.momentum * s["momentum"] + g
    return w - now.lr * (g + c.momentum * v), {"momentum": v}


def _absorbed(c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool) -> tuple[Array, Slots]:
    v = c.momentum * (correction(c, now) * s["momentum"]) + now.lr * g
    return w - v, {"momentum": v}


def _absorbed_nesterov(
    c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool
) -> tuple[Array, Slots]:
    v = c.momentum * (correction(c, now) * s["momentum"]) + now.lr * g
    return w - (c.momentum * v + now.lr * g), {"momentum": v}


def _lars(c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool) -> tuple[Array, Slots]:
    if decayed:
        ratio = _ratio(_norm(w), _norm(g), c.trust_coefficient, c.weight_decay)
        g = ratio * (g + c.weight_decay * w)
    return _sgd(c, now, w, g, s, decayed)


def _direction(c: OptimizerConfig, now: Moment, g: Array, s: Slots) -> tuple[Array, Slots]:
    """Return r of adam, and its slots."""
    m = c.beta1 * s["exp_avg"] + (1 - c.beta1) * g
    v = c.beta2 * s["exp_avg_sq"] + (1 - c.beta2) * g**2
    m_hat, v_hat = m / (1 - c.beta1**now.t), v / (1 - c.beta2**now.t)
    return m_hat / (np.sqrt(v_hat) + c.epsilon), {"exp_avg": m, "exp_avg_sq": v}


def _adam(c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool) -> tuple[Array, Slots]:
    r, slots = _direction(c, now, g, s)
    return w - now.lr * r, slots


def _adamw(c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool) -> tuple[Array, Slots]:
    r, slots = _direction(c, now, g, s)
    return w - now.lr * (r + c.weight_decay * w if decayed else r), slots


def _lamb(c: OptimizerConfig, now: Moment, w: Array, g: Array, s: Slots, decayed: bool) -> tuple[Array, Slots]:
    r, slots = _direction(c, now, g, s)
    if not decayed:
        return w - now.lr * r, slots
    u = r + c.weight_decay * w
    return w - now.lr * _ratio(_norm(w), _norm(u)) * u, slots


def _norm(x: Array) -> float:
    return float(np.sqrt(np.sum(x**2)))


def _ratio(weight: float, step: float, coefficient: float = 1.0, decay: float = 0.0) -> float:
    """Return the trust ratio from the norms of an array and of what it would be changed by."""
    return coefficient * weight / (step + decay * weight) if weight > 0 and step > 0 else 1.0


_VELOCITY, _MOMENTS = ("momentum",), ("exp_avg", "exp_avg_sq")

RULES: dict[str, Rule] = {
    "sgd": Rule(_VELOCITY, (), True, _sgd),
    "nesterov": Rule(_VELOCITY, (), True, _nesterov),
    "absorbed sgd": Rule(_VELOCITY, (RATE,), True, _absorbed),
    "absorbed nesterov": Rule(_VELOCITY, (RATE,), True, _absorbed_nesterov),
    "adam": Rule(_MOMENTS, (STEP,), True, _adam),
    "adamw": Rule(_MOMENTS, (STEP,), False, _adamw),
    "lars": Rule(_VELOCITY, (), False, _lars),
    "lamb": Rule(_MOMENTS, (STEP,), False, _lamb),
}
