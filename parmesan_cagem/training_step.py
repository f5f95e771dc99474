"""The graph of one training step: two passes, the objective, gradients, Adam, running averages."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import lasagne
import numpy as np
import theano
import theano.tensor as T
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities, objectives
from parmesan_cagem.config import Experiment
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import BatchStatistics, GivenStatistics, running_average_updates
from parmesan_cagem.randomness import NamedStreams


@dataclass(frozen=True)
class TrainingStep:
    """Everything that an engine compiles, and the state that a checkpoint holds.

    Attributes
    ----------
    inputs : list
        Indices of the unlabelled batch (int32, (B,)) and, with labels, of the labelled one ((L,)); temperature; rate.
    outputs : OrderedDict
        Name -> scalar expression; ``usage`` is a vector (K,).
    updates : OrderedDict
        Shared variable -> new value: weights, Adam, running averages, random streams.
    state : OrderedDict
        Name -> shared variable: ``weights/...``, ``adam/...``, ``random/...``. All that a step changes.
    """

    inputs: list[TensorVariable]
    outputs: OrderedDict[str, TensorVariable]
    updates: OrderedDict[Any, TensorVariable]
    state: OrderedDict[str, Any]


def build(
    model: Model,
    experiment: Experiment,
    unlabelled: np.ndarray,
    labelled: np.ndarray | None,
    label_weights: tuple[float, float],
    labels: np.ndarray | None = None,
) -> TrainingStep:
    """Build the training step. The data become shared variables: images stay bytes and are binarised in the graph.

    Parameters
    ----------
    unlabelled, labelled : ndarray
        Images (N, D), uint8 (or float32); ``labelled`` is None with ``--labels 0``: no labelled pass is then built.
    label_weights : tuple of float
        (w_q, w_p): per step, maximise ``mean_u F - w_q mean_l H_q - w_p mean_l H_p``; of these terms a model has those
        that its ``labelled`` gives, and a bound on log p(x_l, y_l) counts with ``labelled_bound``.
    labels : ndarray
        (N_l,) integers.
    """
    e = experiment
    streams = NamedStreams(e.seed)
    temperature, rate = T.scalar("temperature"), T.scalar("learning_rate")
    batch = T.ivector("batch")

    x = _binary_batch(unlabelled, batch, e, streams, "binarise", e.batch_size)  # (B, D)
    if e.train_iw > 1:
        x = T.extra_ops.repeat(x, e.train_iw, axis=0)  # (B*S, D)
    statistics = BatchStatistics()
    terms = model.terms(x, _noise(model, streams, model.noise_shapes(e.batch_size * e.train_iw)), statistics)
    outputs: OrderedDict[str, TensorVariable] = OrderedDict()
    temperatures = (temperature, None if e.tempered == "all" else 1.0)
    if e.train_iw == 1 or e.iw_objective == "averaged":
        objective = T.mean(objectives.bound(terms, *temperatures))
    else:
        weights = T.reshape(objectives.log_weight(terms, *temperatures), (e.batch_size, e.train_iw))
        objective = T.mean(densities.log_mean_exp(weights, axis=1))
    outputs["objective"] = objective
    outputs["F"] = T.mean(objectives.bound(terms))
    for name, term in objectives.decomposition(terms).items():
        outputs[name] = T.mean(term)
    if "y" in terms.latents:
        outputs["usage"] = T.mean(T.exp(terms.latents["y"].log_q), axis=0)  # (K,)

    inputs, loss = [batch], -objective
    if labelled is not None and labels is not None:
        labelled_batch = T.ivector("labelled_batch")
        size = min(e.labelled_batch_size, len(labelled))
        x_l = _binary_batch(labelled, labelled_batch, e, streams, "binarise_labelled", size)  # (L, D)
        y_l = theano.shared(labels.astype("int32"), name="labels")[labelled_batch]  # (L,)
        shapes = model.noise_shapes(size, given=not model.labelled_sums_over_y)
        loss_weights = {"H_q": label_weights[0], "H_p": label_weights[1], "F_labelled": -e.labelled_bound}
        own = e.labelled_bn == "own"
        moments = BatchStatistics() if own else GivenStatistics(statistics, constant=model.routes_gradients)
        for name, term in model.labelled(x_l, y_l, _noise(model, streams, shapes, "_labelled"), moments).items():
            outputs[name] = T.mean(term)
            loss = loss + loss_weights[name] * outputs[name]
        inputs.append(labelled_batch)

    params = model.params(trainable=True)
    gradients, norms = _clipped(T.grad(loss, params), params, model, e.clip_norm)
    outputs.update(norms)
    updates = lasagne.updates.adam(gradients, params, rate, e.adam_beta1, e.adam_beta2, e.adam_epsilon)
    adam_state = _name_adam_state(updates)
    updates.update(running_average_updates(statistics, e.bn_momentum))
    updates.update(streams.updates())
    state: OrderedDict[str, Any] = OrderedDict((f"weights/{p.name}", p) for p in model.params())
    state.update((variable.name, variable) for variable in [*adam_state, *streams.states.values()])
    return TrainingStep([*inputs, temperature, rate], outputs, updates, state)


def _noise(
    model: Model, streams: NamedStreams, shapes: list[tuple[int, int]], suffix: str = ""
) -> list[TensorVariable]:
    """Noise of every variable, each from a stream of its own."""
    return [streams.normal(f"eps_{v.name}{suffix}", shape) for v, shape in zip(model.variables, shapes, strict=True)]


def _binary_batch(
    images: np.ndarray, batch: TensorVariable, e: Experiment, streams: NamedStreams, name: str, size: int
) -> TensorVariable:
    """Gather rows of the data set and binarise them with fresh draws: (size, D), floatX in {0, 1}.

    Of images that are floats, a pixel that is no probability is NaN here, and the bound with it: compared with a draw,
    NaN would be a 0 and Inf a 1, and nobody would know. (Bytes cannot hold either.)
    """
    stored = theano.shared(images, name=f"images/{name}")
    probability = T.cast(stored[batch], theano.config.floatX) / e.pixel_scale
    binary = T.cast(T.lt(streams.uniform(name, (size, images.shape[1])), probability), theano.config.floatX)
    if images.dtype.kind != "f":
        return binary
    sound = T.and_(T.ge(probability, 0), T.le(probability, 1))  # written so that NaN fails too
    return T.switch(sound, binary, np.array(np.nan, theano.config.floatX))


def _clipped(
    gradients: list[TensorVariable], params: list[Any], model: Model, clip_norm: float
) -> tuple[list[TensorVariable], dict[str, TensorVariable]]:
    """Norms of the gradients of ``model.routed`` and of the rest; each group clipped by its own norm when asked to.

    One common norm would let the labelled gradient rescale every other weight and break the routing.
    """
    clipped, norms, routed = list(gradients), {}, model.routed
    for name, belongs in (("gradient_norm_y", True), ("gradient_norm_rest", False)):
        group = [i for i, param in enumerate(params) if (param in routed) == belongs]
        if not group:
            continue
        limit = clip_norm or np.inf
        scaled, norm = lasagne.updates.total_norm_constraint([gradients[i] for i in group], limit, return_norm=True)
        norms[name] = norm
        if clip_norm:
            for i, gradient in zip(group, scaled, strict=True):
                clipped[i] = gradient
    return clipped, norms


def _name_adam_state(updates: OrderedDict[Any, TensorVariable]) -> list[Any]:
    """Name the anonymous m, v and t that Lasagne's Adam made; its updates come as (m, v, parameter) triples, then t."""
    variables = list(updates)
    for m, v, param in zip(variables[:-1:3], variables[1:-1:3], variables[2:-1:3], strict=True):
        m.name, v.name = f"adam/m/{param.name}", f"adam/v/{param.name}"
    variables[-1].name = "adam/t"
    return [variable for variable in variables if (variable.name or "").startswith("adam/")]
