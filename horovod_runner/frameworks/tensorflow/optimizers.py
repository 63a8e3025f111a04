"""The optimizers in TensorFlow, to be called inside tf.function; rules.py defines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import tensorflow as tf

from horovod_runner.optimizers.rules import RULES, Moment, initial_memory, rule_name

if TYPE_CHECKING:
    from horovod_runner.config.settings import OptimizerConfig

Slots = dict[str, tf.Variable]


class Optimizer:
    """Update variables from gradients in the same order.

    `decayed` names the variables that decay and trust ratios apply to (rules.decayed_names). Slots have their
    variable's layout.
    """

    def __init__(
        self, config: OptimizerConfig, named_variables: Mapping[str, tf.Variable], decayed: AbstractSet[str]
    ) -> None:
        self.config = config
        self._variables = dict(named_variables)
        self._decayed = frozenset(decayed)
        self._rule, self._update = RULES[rule_name(config)], _UPDATES[rule_name(config)]
        self._slots = {name: self._zeros(name, v) for name, v in self._variables.items()}
        memory = initial_memory(self._rule)
        self._memory = {name: tf.Variable(zero, trainable=False, name=name) for name, zero in memory.items()}

    def _zeros(self, name: str, variable: tf.Variable) -> Slots:
        zeros = tf.zeros(variable.shape, variable.dtype)
        return {slot: tf.Variable(zeros, trainable=False, name=f"{slot}/{name}") for slot in self._rule.slots}

    def variables(self) -> dict[str, tf.Variable]:
        """Return the slots as `<slot>/<parameter>`, and what the rule remembers; assign to them to load a state."""
        named = {f"{slot}/{name}": self._slots[name][slot] for slot in self._rule.slots for name in self._variables}
        return named | self._memory

    def apply(self, gradients: Sequence[tf.Tensor], lr: tf.Tensor) -> None:
        """Make one step; `gradients` in the variables' order, as many (else ValueError); `lr` a scalar, float64."""
        pairs = list(zip(self._variables.items(), _clipped(self.config, gradients), strict=True))
        rates = self._update.rates(self.config, self._advance(tf.cast(lr, tf.float64)))
        for (name, w), g in pairs:
            decayed = name in self._decayed
            if self._rule.l2 and decayed:
                g = _plus_decay(self.config, g, w)
            own = [tf.cast(rate, w.dtype) for rate in rates]
            self._update.apply(self.config, own, w, g, self._slots[name], decayed)

    def _advance(self, lr: tf.Tensor) -> Moment:
        now = Moment.after({name: value.read_value() for name, value in self._memory.items()}, lr)
        for name, value in self._memory.items():
            value.assign(now.memory()[name])
        return now


def _clipped(c: OptimizerConfig, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
    """Return the gradients, scaled so that their common norm is at most clip_norm."""
    if c.clip_norm is None:
        return gradients
    scale = tf.minimum(tf.ones((), gradients[0].dtype), c.clip_norm / tf.linalg.global_norm(gradients))
    return [scale * g for g in gradients]


def _plus_decay(c: OptimizerConfig, x: tf.Tensor, w: tf.Variable) -> tf.Tensor:
    return x + tf.constant(c.weight_decay, x.dtype) * w if c.weight_decay else x


Rates = Sequence[tf.Tensor]


@dataclass(frozen=True)
class Update:
    """A rule's two parts: the step's scalars in float64, and one variable's update with those in its precision."""

    rates: Callable[[OptimizerConfig, Moment], Rates]
    apply: Callable[[OptimizerConfig, Rates, tf.Variable, tf.Tensor, Slots, bool], None]


def _only_lr(c: OptimizerConfig, now: Moment) -> Rates:
    return [now.lr]


def _fused(c: OptimizerConfig, lr: tf.Tensor, w: tf.Variable, g: tf.Tensor, slots: Slots, nesterov: bool) -> None:
    """Pass over memory once: accum <- momentum accum + grad, var <- var - lr accum."""
    tf.raw_ops.ResourceApplyMomentum(
        var=w.handle,
        accum=slots["momentum"].handle,
        lr=lr,
        grad=g,
        momentum=tf.constant(c.momentum, w.dtype),
        use_nesterov=nesterov,
    )


def _sgd(
    c: OptimizerConfig, rates: Rates, w: tf.Variable, g: tf.Tensor, slots: Slots, decayed: bool, nesterov: bool = False
) -> None:
    _fused(c, rates[0], w, g, slots, nesterov)


def _lr_and_correction(c: OptimizerConfig, now: Moment) -> Rates:
    """Return lr, and what the velocity is multiplied by first (rules.correction)."""
    return [now.lr, tf.where(now.last_lr > 0, now.lr / now.last_lr, 1.0)]


def _absorbed(
    c: OptimizerConfig, rates: Rates, w: tf.Variable, g: tf.Tensor, slots: Slots, decayed: bool, nesterov: bool = False
) -> None:
    """Use the same kernel, with lr g for its gradient and 1 for its rate."""
    lr, correction = rates
    if c.momentum_correction:
        slots["momentum"].assign(correction * slots["momentum"])
    _fused(c, tf.ones((), w.dtype), w, lr * g, slots, nesterov)


def _lars(c: OptimizerConfig, rates: Rates, w: tf.Variable, g: tf.Tensor, slots: Slots, decayed: bool) -> None:
    if decayed:
        g = _ratio(w, g, c.trust_coefficient, c.weight_decay) * _plus_decay(c, g, w)
    _fused(c, rates[0], w, g, slots, nesterov=False)


def _adam_rates(c: OptimizerConfig, now: Moment) -> Rates:
    """Return lr, sqrt(1 - b2^t) / (1 - b1^t) and epsilon sqrt(1 - b2^t) (Kingma and Ba 2015, end of section 2).

    In float32 the differences would lose half of their digits in the first steps.
    """
    t = tf.cast(now.t, tf.float64)
    first, second = (1 - tf.pow(tf.constant(b, tf.float64), t) for b in (c.beta1, c.beta2))
    return [now.lr, tf.sqrt(second) / first, c.epsilon * tf.sqrt(second)]


def _direction(c: OptimizerConfig, factor: tf.Tensor, epsilon: tf.Tensor, g: tf.Tensor, slots: Slots) -> tf.Tensor:
    """Move both slots; return factor m / (sqrt(v) + epsilon).

    Written out: the fused kernel takes 1 - b2 in the variable's precision, which is off by 1e-5 in float32.
    """
    m, v = slots["exp_avg"], slots["exp_avg_sq"]
    m = m.assign_add((1 - c.beta1) * (g - m))
    v = v.assign_add((1 - c.beta2) * (tf.square(g) - v))
    return factor * m / (tf.sqrt(v) + epsilon)


def _adam(c: OptimizerConfig, rates: Rates, w: tf.Variable, g: tf.Tensor, slots: Slots, decayed: bool) -> None:
    lr, scale, epsilon = rates
    w.assign_sub(_direction(c, lr * scale, epsilon, g, slots))


def _adamw(c: OptimizerConfig, rates: Rates, w: tf.Variable, g: tf.Tensor, slots: Slots, decayed: bool) -> None:
    lr, scale, epsilon = rates
    r = _direction(c, scale, epsilon, g, slots)
    w.assign_sub(lr * (_plus_decay(c, r, w) if decayed else r))


def _lamb(c: OptimizerConfig, rates: Rates, w: tf.Variable, g: tf.Tensor, slots: Slots, decayed: bool) -> None:
    if not decayed:
        return _adam(c, rates, w, g, slots, decayed)
    lr, scale, epsilon = rates
    u = _plus_decay(c, _direction(c, scale, epsilon, g, slots), w)
    w.assign_sub(lr * _ratio(w, u) * u)


def _ratio(w: tf.Variable, x: tf.Tensor, coefficient: float = 1.0, decay: float = 0.0) -> tf.Tensor:
    """Return the trust ratio, coefficient |w| / (|x| + decay |w|), or 1 where |w| or |x| is 0."""
    weight, step = _norm(w), _norm(x)
    ratio = coefficient * weight / (step + decay * weight)
    return tf.where((weight > 0) & (step > 0), ratio, tf.ones_like(ratio))


def _norm(x: tf.Tensor | tf.Variable) -> tf.Tensor:
    return tf.sqrt(2 * tf.nn.l2_loss(x))


_UPDATES = {
    "sgd": Update(_only_lr, _sgd),
    "nesterov": Update(_only_lr, partial(_sgd, nesterov=True)),
    "absorbed sgd": Update(_lr_and_correction, _absorbed),
    "absorbed nesterov": Update(_lr_and_correction, partial(_absorbed, nesterov=True)),
    "adam": Update(_adam_rates, _adam),
    "adamw": Update(_adam_rates, _adamw),
    "lars": Update(_only_lr, _lars),
    "lamb": Update(_adam_rates, _lamb),
}
