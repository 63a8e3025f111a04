"""The optimizers in TensorFlow, to be called inside tf.function; rules.py defines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import tensorflow as tf

from horovod_runner.optimizers.rules import RULES, STEP, rule_name

if TYPE_CHECKING:
    from horovod_runner.config import OptimizerConfig

Slots = dict[str, tf.Variable]


class Optimizer:
    """Update variables from gradients in the same order.

    `decayed` names the variables that weight decay applies to (rules.decayed_names). Slots have their variable's
    layout.
    """

    def __init__(
        self, config: OptimizerConfig, named_variables: Mapping[str, tf.Variable], decayed: AbstractSet[str]
    ) -> None:
        self.config = config
        self._variables = dict(named_variables)
        self._decayed = frozenset(decayed) if config.weight_decay else frozenset()
        self._rule, self._update = RULES[rule_name(config)], _UPDATES[rule_name(config)]
        self._slots = {name: self._zeros(name, v) for name, v in self._variables.items()}
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name=STEP) if self._rule.counts_steps else None

    def _zeros(self, name: str, variable: tf.Variable) -> Slots:
        zeros = tf.zeros(variable.shape, variable.dtype)
        return {slot: tf.Variable(zeros, trainable=False, name=f"{slot}/{name}") for slot in self._rule.slots}

    def variables(self) -> dict[str, tf.Variable]:
        """Return the slots as `<slot>/<parameter>`, and `step` if the rule counts; assign to them to load a state."""
        named = {f"{slot}/{name}": self._slots[name][slot] for slot in self._rule.slots for name in self._variables}
        return named | ({STEP: self._step} if self._step is not None else {})

    def apply(self, gradients: Sequence[tf.Tensor], lr: tf.Tensor) -> None:
        """Make one step; `gradients` in the variables' order, as many (else ValueError); `lr` a scalar, float64."""
        pairs = list(zip(self._variables.items(), gradients, strict=True))
        step = self._step.assign_add(1) if self._step is not None else None
        rates = self._update.rates(self.config, step, tf.cast(lr, tf.float64))
        for (name, variable), gradient in pairs:
            if name in self._decayed:
                gradient += tf.constant(self.config.weight_decay, gradient.dtype) * variable
            scalars = [tf.cast(rate, variable.dtype) for rate in rates]
            self._update.apply(self.config, variable, gradient, self._slots[name], *scalars)


@dataclass(frozen=True)
class Update:
    """A rule's two parts: the step's scalars in float64, and one variable's update with those in its precision."""

    rates: Callable[[OptimizerConfig, tf.Tensor | None, tf.Tensor], list[tf.Tensor]]
    apply: Callable[..., None]


def _only_lr(config: OptimizerConfig, step: tf.Tensor | None, lr: tf.Tensor) -> list[tf.Tensor]:
    return [lr]


def _momentum(
    c: OptimizerConfig, w: tf.Variable, g: tf.Tensor, slots: Slots, lr: tf.Tensor, nesterov: bool = False
) -> None:
    """Use the fused kernel, one pass over memory: accum <- momentum accum + grad, var <- var - lr accum."""
    tf.raw_ops.ResourceApplyMomentum(
        var=w.handle,
        accum=slots["momentum"].handle,
        lr=lr,
        grad=g,
        momentum=tf.constant(c.momentum, w.dtype),
        use_nesterov=nesterov,
    )


def _adam_rates(c: OptimizerConfig, step: tf.Tensor | None, lr: tf.Tensor) -> list[tf.Tensor]:
    """Return lr sqrt(1 - b2^t) / (1 - b1^t) and epsilon sqrt(1 - b2^t) (Kingma and Ba 2015, end of section 2).

    In float32 the differences would lose half of their digits in the first steps.
    """
    t = tf.cast(step, tf.float64)
    first, second = (1 - tf.pow(tf.constant(b, tf.float64), t) for b in (c.beta1, c.beta2))
    return [lr * tf.sqrt(second) / first, c.epsilon * tf.sqrt(second)]


def _adam(c: OptimizerConfig, w: tf.Variable, g: tf.Tensor, slots: Slots, rate: tf.Tensor, epsilon: tf.Tensor) -> None:
    """Written out: the fused kernel takes 1 - b2 in the variable's precision, which is off by 1e-5 in float32."""
    m, v = slots["exp_avg"], slots["exp_avg_sq"]
    m = m.assign_add((1 - c.beta1) * (g - m))
    v = v.assign_add((1 - c.beta2) * (tf.square(g) - v))
    w.assign_sub(rate * m / (tf.sqrt(v) + epsilon))


_UPDATES = {
    "sgd": Update(_only_lr, _momentum),
    "nesterov": Update(_only_lr, partial(_momentum, nesterov=True)),
    "adam": Update(_adam_rates, _adam),
}
