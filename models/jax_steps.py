"""The training and the test step for Keras's JAX backend, where state is passed in and out.

The objective is :meth:`models.VAE.objective`, the same code as on TensorFlow. It reads and assigns
variables, which JAX's transformations can't follow; inside a ``StatelessScope`` every variable
stands for a value that is given here, and what was assigned is read off afterwards.
"""

from __future__ import annotations

import keras
from keras import ops


def _after(scope, variables) -> list:
    """The variables' values as the scope leaves them."""
    values = [scope.get_current_value(v) for v in variables]
    return [v.value if new is None else new for v, new in zip(variables, values, strict=True)]


def _mapping(*pairs) -> list:
    return [pair for variables, values in pairs for pair in zip(variables, values, strict=True)]


def _terms(model, trainable, non_trainable, data, training: bool):
    """The batch's mean loss, and with it the terms and the other variables' new values."""
    mapping = _mapping(
        (model.trainable_variables, trainable), (model.non_trainable_variables, non_trainable)
    )
    with keras.StatelessScope(state_mapping=mapping) as scope:
        terms = model.step_objective(data, training)
    return ops.mean(terms.loss), (terms, _after(scope, model.non_trainable_variables))


def _logs(model, trainable, non_trainable, metrics, terms):
    """What Keras reports of the step, and the metrics' new values."""
    mapping = _mapping(
        (model.trainable_variables, trainable),
        (model.non_trainable_variables, non_trainable),  # log gamma, where it is frozen
        (model.metrics_variables, metrics),
    )
    with keras.StatelessScope(state_mapping=mapping) as scope:
        logs = model._logs(terms)
    return logs, _after(scope, model.metrics_variables)


def train_step(model, state, data):
    """One step down the gradient of the batch's mean negative ELBO, or several in one call.

    A small network's step takes an accelerator less time than the call from Python takes. ``data``
    may therefore be a stack of batches with one axis more, ``(steps, batch, ...)``: the device then
    makes a step with each before it answers.

    Args:
        model: a compiled :class:`models.VAE`.
        state: the values of its trainable, non-trainable, optimiser's and metrics' variables.
        data: a batch, as the VAE's ``observe`` takes it, or a stack of them.

    Returns:
        The logs, after the last step, and the new state.
    """
    import jax

    batch = model.unweighted(data)
    if len(batch.shape) == model.observed_rank:
        return _one_step(model, state, batch)

    def step(state, batch):
        logs, state = _one_step(model, state, batch)
        return state, logs

    state, logs = jax.lax.scan(step, state, batch)
    return {name: values[-1] for name, values in logs.items()}, state


def _one_step(model, state, data):
    import jax

    trainable, non_trainable, optimizer, metrics = state

    def loss(trainable):
        return _terms(model, trainable, non_trainable, data, training=True)

    (_, (terms, non_trainable)), gradients = jax.value_and_grad(loss, has_aux=True)(trainable)
    trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
    logs, metrics = _logs(model, trainable, non_trainable, metrics, terms)
    return logs, (trainable, non_trainable, optimizer, metrics)


def test_step(model, state, data):
    """The terms in inference mode; arguments as :func:`train_step`'s, without an optimiser's."""
    trainable, non_trainable, metrics = state
    _, (terms, non_trainable) = _terms(model, trainable, non_trainable, data, training=False)
    logs, metrics = _logs(model, trainable, non_trainable, metrics, terms)
    return logs, (trainable, non_trainable, metrics)
