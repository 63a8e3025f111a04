"""The definition of every optimizer, in NumPy: executable, and what both implementations are tested against.

w is a parameter, g its gradient, lr the step's learning rate, t the step's number from 1.

decay    g <- g + weight_decay * w, for kernels only, or for everything with `decay_norm`. This is L2 regularisation,
added
         once to the gradient; the reported loss does not contain it.
sgd      v <- momentum v + g;  w <- w - lr v. Velocity in units of the gradient (Goyal et al. 2017, eq. 9; PyTorch): a
change
         of the learning rate acts at once. Keras folds lr into v instead.
nesterov v as above;  w <- w - lr (g + momentum v) (Sutskever et al. 2013 as rewritten by Bengio et al. 2012, eq. 7;
PyTorch). adam     m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - lr m_hat / (sqrt(v_hat) + epsilon), with
         m_hat = m / (1 - b1^t), v_hat = v / (1 - b2^t) (Kingma and Ba 2015, algorithm 1). Keras adds epsilon before the
         correction of v.

Slots start at zero and have their parameter's shape and layout. The state of an optimizer is its slots under the names
`<slot>/<parameter>`, and `step`, the number of steps made, for rules that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.architecture import ArraySpec
    from horovod_runner.config import OptimizerConfig

Slots = dict[str, np.ndarray]
Update = Callable[["OptimizerConfig", np.ndarray, np.ndarray, Slots, int, float], tuple[np.ndarray, Slots]]
STEP = "step"


@dataclass(frozen=True)
class Rule:
    """A rule's slots, whether it counts steps, and its update (config, w, g, slots, t, lr) -> (new w, new slots)."""

    slots: tuple[str, ...]
    counts_steps: bool
    update: Update


def rule_name(config: OptimizerConfig) -> str:
    """Return the key under which this and the frameworks' tables hold the configured rule."""
    return "nesterov" if config.name == "sgd" and config.nesterov else config.name


def decayed_names(arrays: Iterable[ArraySpec], config: OptimizerConfig) -> frozenset[str]:
    """Return the parameters that weight decay applies to; none if it is 0."""
    if config.weight_decay == 0:
        return frozenset()
    return frozenset(a.name for a in arrays if a.trainable and (a.is_kernel or config.decay_norm))


def state_names(config: OptimizerConfig, parameters: Iterable[str]) -> list[str]:
    """Return the names of an optimizer's whole state."""
    rule = RULES[rule_name(config)]
    return [f"{slot}/{name}" for slot in rule.slots for name in parameters] + [STEP] * rule.counts_steps


def require_names(given: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ValueError that names what is missing from an optimizer's state, or not part of it."""
    given, expected = set(given), set(expected)
    if given != expected:
        missing, extra = sorted(expected - given), sorted(given - expected)
        raise ValueError(f"optimizer state: {len(missing)} missing {missing[:3]}, {len(extra)} unknown {extra[:3]}")


def apply(
    config: OptimizerConfig,
    weights: Mapping[str, np.ndarray],
    gradients: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    decayed: Iterable[str],
    lr: float,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return all weights and the state after one step."""
    rule, decayed = RULES[rule_name(config)], set(decayed)
    t = int(state[STEP]) + 1 if rule.counts_steps else 0
    new_weights, new_state = ({}, {STEP: np.array(t, np.int64)} if rule.counts_steps else {})
    for name, w in weights.items():
        g = gradients[name] + config.weight_decay * w if name in decayed else gradients[name]
        slots = {slot: state[f"{slot}/{name}"] for slot in rule.slots}
        new_weights[name], slots = rule.update(config, w, g, slots, t, lr)
        new_state |= {f"{slot}/{name}": value for slot, value in slots.items()}
    return new_weights, new_state


def initial_state(config: OptimizerConfig, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return zeros for every slot, and step 0."""
    rule = RULES[rule_name(config)]
    state = {f"{slot}/{name}": np.zeros_like(w) for slot in rule.slots for name, w in weights.items()}
    return state | ({STEP: np.array(0, np.int64)} if rule.counts_steps else {})


def _sgd(c: OptimizerConfig, w: np.ndarray, g: np.ndarray, s: Slots, t: int, lr: float) -> tuple[np.ndarray, Slots]:
    v = c.momentum * s["momentum"] + g
    return w - lr * v, {"momentum": v}


def _nesterov(
    c: OptimizerConfig, w: np.ndarray, g: np.ndarray, s: Slots, t: int, lr: float
) -> tuple[np.ndarray, Slots]:
    v = c.momentum * s["momentum"] + g
    return w - lr * (g + c.momentum * v), {"momentum": v}


def _adam(c: OptimizerConfig, w: np.ndarray, g: np.ndarray, s: Slots, t: int, lr: float) -> tuple[np.ndarray, Slots]:
    m = c.beta1 * s["exp_avg"] + (1 - c.beta1) * g
    v = c.beta2 * s["exp_avg_sq"] + (1 - c.beta2) * g**2
    m_hat, v_hat = m / (1 - c.beta1**t), v / (1 - c.beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + c.epsilon), {"exp_avg": m, "exp_avg_sq": v}


RULES: dict[str, Rule] = {
    "sgd": Rule(("momentum",), False, _sgd),
    "nesterov": Rule(("momentum",), False, _nesterov),
    "adam": Rule(("exp_avg", "exp_avg_sq"), True, _adam),
}
