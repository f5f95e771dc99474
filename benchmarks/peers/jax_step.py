"""The training step of CaGeM in JAX, as one would write it by hand: pure functions, one XLA program per block of steps.

The class axis is flattened into the rows of one matrix product, Adam runs over the dict of weights, the state is
donated, the data set lies on the device as bytes and the random numbers are drawn there.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.problem import Arrays, Problem, require_implemented
from parmesan_cagem.config import Experiment

Tree = dict[str, Any]
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# JAX's default; rbg and unsafe_rbg were no faster here, within the noise of the measurement.
PRNG = "threefry2x32"


class Pass:
    """One pass through the networks.

    Parameters
    ----------
    w : dict
        Weights by the names of the Theano model.
    e : Experiment
    given : dict or None
        Batch-norm statistics by layer; None: the pass's own, which ``seen`` then holds.
    """

    def __init__(self, w: Tree, e: Experiment, given: Tree | None = None) -> None:
        self.w, self.e, self.given = w, e, given
        self.seen: Tree = {}

    def edge(self, name: str, rows: jax.Array) -> jax.Array:
        return rows @ self.w[f"{name}.W"]

    def head(self, name: str, rows: jax.Array) -> jax.Array:
        return rows @ self.w[f"{name}.W"] + self.w[f"{name}.b"]

    def gaussian(self, name: str, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.head(f"{name}.mu", rows), self.head(f"{name}.log_sigma", rows)

    def hidden(self, name: str, total: jax.Array) -> jax.Array:
        """The two hidden layers of a network, from the sum of its edges: (rows, H) -> (rows, H')."""
        d = jax.nn.relu(self.normalise(f"{name}.bn1", total))
        return jax.nn.relu(self.normalise(f"{name}.bn2", d @ self.w[f"{name}.dense2.W"]))

    def normalise(self, name: str, rows: jax.Array) -> jax.Array:
        if self.given is None:
            mean = rows.mean(axis=0)
            self.seen[name] = mean, jnp.square(rows - mean).mean(axis=0)
        mean, variance = (self.given or self.seen)[name]
        scale = self.w[f"{name}.gamma"] * lax.rsqrt(variance + self.e.bn_epsilon)
        return (rows - mean) * scale + self.w[f"{name}.beta"]

    def infer_z1(self, x: jax.Array, eps: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """A sample of q(z1|x), and its mu and log sigma: (B, z1) each."""
        mu, log_sigma = self.gaussian("q_z1", self.hidden("q_z1", self.edge("q_z1.edge_x", x)))
        return mu + jnp.exp(log_sigma) * eps, mu, log_sigma

    def infer_y(self, x: jax.Array, z1: jax.Array) -> jax.Array:
        """``log q(y|z1,x)``, (B, K)."""
        total = self.edge("q_y.edge_x", x) + self.edge("q_y.edge_z1", z1)
        return jax.nn.log_softmax(self.head("q_y.logits", self.hidden("q_y", total)))

    def infer_z2(self, x: jax.Array, z1: jax.Array, eps: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """A sample of q(z2|x,y,z1) for every class, and its mu and log sigma: (B*K, z2) each."""
        image = self.edge("q_z2.edge_x", x) + self.edge("q_z2.edge_z1", z1)  # (B, H)
        mu, log_sigma = self.gaussian("q_z2", self.hidden("q_z2", self.over_classes("q_z2", image)))
        return mu + jnp.exp(log_sigma) * eps, mu, log_sigma

    def generate_y(self, z2: jax.Array) -> jax.Array:
        """``log p(y'|z2^y)``, (B, K, K), y' last."""
        logits = self.head("p_y.logits", self.hidden("p_y", self.edge("p_y.edge_z2", z2)))
        return jax.nn.log_softmax(logits).reshape(-1, self.e.clusters, self.e.clusters)

    def over_classes(self, name: str, image: jax.Array) -> jax.Array:
        """Add each class's projection to each image's, (B, H) -> (B*K, H). y is one-hot: its projection is a row."""
        return (image[:, None, :] + self.w[f"{name}.edge_y.W"]).reshape(-1, image.shape[1])


def log_normal(x: jax.Array, mu: jax.Array, log_sigma: jax.Array) -> jax.Array:
    """(..., D) -> (...), nats."""
    return jnp.sum(-HALF_LOG_2PI - log_sigma - 0.5 * jnp.square((x - mu) * jnp.exp(-log_sigma)), axis=-1)


def softplus(x: jax.Array) -> jax.Array:
    """``log(1 + exp(x))`` without overflow."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def unlabelled_pass(run: Pass, x: jax.Array, eps_1: jax.Array, eps_2: jax.Array, temperature: Any) -> Tree:
    """The mean bound over a batch and its terms (parmesan_cagem.objectives): name -> scalar, usage (K,)."""
    classes, w = run.e.clusters, run.w
    z1, mu_1, log_sigma_1 = run.infer_z1(x, eps_1)
    log_q_y = run.infer_y(x, z1)
    z2, mu_2, log_sigma_2 = run.infer_z2(x, z1, eps_2)
    p_y = jnp.diagonal(run.generate_y(z2), axis1=1, axis2=2)  # (B, K)
    total = run.edge("p_z1.edge_z2", z2).reshape(-1, classes, w["p_z1.edge_y.W"].shape[1]) + w["p_z1.edge_y.W"]
    p_mu, p_log_sigma = run.gaussian("p_z1", run.hidden("p_z1", total.reshape(-1, total.shape[-1])))
    logits = run.head("p_x.logits", run.hidden("p_x", run.over_classes("p_x", run.edge("p_x.edge_z1", z1))))

    def pairs(rows: jax.Array) -> jax.Array:
        return rows.reshape(-1, classes, *rows.shape[1:])

    p_x = jnp.sum(x[:, None, :] * pairs(logits) - softplus(pairs(logits)), axis=-1)  # (B, K)
    p_z1 = log_normal(z1[:, None, :], pairs(p_mu), pairs(p_log_sigma))
    p_z2 = pairs(log_normal(z2, 0.0, jnp.zeros_like(z2)))
    q_z2 = pairs(log_normal(z2, mu_2, log_sigma_2))
    q_z1 = log_normal(z1, mu_1, log_sigma_1)  # (B,)
    kl_z2 = pairs(0.5 * jnp.sum(jnp.exp(2 * log_sigma_2) + jnp.square(mu_2) - 1 - 2 * log_sigma_2, axis=-1))
    q_y = jnp.exp(log_q_y)
    latent = p_z1 + p_y + p_z2 - q_z2 - log_q_y

    def expected(terms: jax.Array) -> jax.Array:
        return jnp.mean(jnp.sum(q_y * terms, axis=1))

    return {
        "objective": expected(p_x + temperature * latent) - temperature * jnp.mean(q_z1),
        "F": expected(p_x + latent) - jnp.mean(q_z1),
        "reconstruction": expected(p_x),
        "KL_z1": jnp.mean(q_z1) - expected(p_z1),
        "KL_z2": expected(kl_z2),
        "KL_z2_sampled": expected(q_z2 - p_z2),
        "KL_y": expected(log_q_y - p_y),
        "usage": jnp.mean(q_y, axis=0),
    }


def labelled_pass(run: Pass, x: jax.Array, y: jax.Array, eps_1: jax.Array, eps_2: jax.Array) -> tuple[Any, Any]:
    """Mean H_q and H_p; gradients reach theta_y and phi_y only (paper section 4)."""
    z1 = lax.stop_gradient(run.infer_z1(x, eps_1)[0])
    log_q = run.infer_y(x, z1)
    z2 = lax.stop_gradient(run.infer_z2(x, z1, eps_2)[0])
    log_p = jax.nn.logsumexp(log_q[:, :, None] + run.generate_y(z2), axis=1)
    rows = jnp.arange(len(y))
    return -jnp.mean(log_q[rows, y]), -jnp.mean(log_p[rows, y])


def loss(w: Tree, e: Experiment, weights: tuple[float, float], x: Any, x_l: Any, y_l: Any, noise: Tree, t: Any) -> Any:
    """The loss; the outputs of the step and the batch-norm statistics beside it."""
    run = Pass(w, e)
    outputs = unlabelled_pass(run, x, noise["eps_z1"], noise["eps_z2"], t)
    given = Pass(w, e, lax.stop_gradient(run.seen))
    h_q, h_p = labelled_pass(given, x_l, y_l, noise["eps_z1_labelled"], noise["eps_z2_labelled"])
    outputs |= {"H_q": h_q, "H_p": h_p}
    return -outputs["objective"] + weights[0] * h_q + weights[1] * h_p, (outputs, run.seen)


def train_step(state: Tree, pixels: Any, pixels_l: Any, y_l: Any, noise: Tree, t: Any, rate: Any, **fixed: Any) -> Any:
    """One step: the new state and the outputs.

    Parameters
    ----------
    state : dict
        weights, running, m, v, t.
    pixels, pixels_l : (B, D) and (L, D) uint8
    y_l : (L,) int32
    noise : dict
        Name -> draws; see :meth:`benchmarks.problem.Problem.noise_shapes`.
    t, rate : scalar
        Temperature, step size.
    """
    e: Experiment = fixed["e"]
    x, x_l = (
        (noise[name] < rows.astype(jnp.float32) / e.pixel_scale).astype(jnp.float32)
        for name, rows in (("binarise", pixels), ("binarise_labelled", pixels_l))
    )
    gradient = jax.value_and_grad(loss, has_aux=True)
    (_, (outputs, seen)), g = gradient(state["weights"], e, fixed["label_weights"], x, x_l, y_l, noise, t)
    for group, routed in (("y", True), ("rest", False)):
        squares = [jnp.sum(jnp.square(v)) for k, v in g.items() if (k.split(".")[0] in ("p_y", "q_y")) == routed]
        outputs[f"gradient_norm_{group}"] = jnp.sqrt(sum(squares))
    step = state["t"] + 1
    a = rate * jnp.sqrt(1 - e.adam_beta2**step) / (1 - e.adam_beta1**step)
    mix = jax.tree.map
    m = mix(lambda old, new: e.adam_beta1 * old + (1 - e.adam_beta1) * new, state["m"], g)
    v = mix(lambda old, new: e.adam_beta2 * old + (1 - e.adam_beta2) * jnp.square(new), state["v"], g)
    w = mix(lambda p, m, v: p - a * m / (jnp.sqrt(v) + e.adam_epsilon), state["weights"], m, v)
    running = mix(lambda old, new: (1 - e.bn_momentum) * old + e.bn_momentum * new, state["running"], seen)
    return {"weights": w, "running": running, "m": m, "v": v, "t": step}, outputs


class JaxStep:
    """The contestant: holds its state on the device and runs blocks of steps.

    Parameters
    ----------
    problem : Problem
    prng : str
        ``rbg``, ``unsafe_rbg`` or ``threefry2x32``.
    """

    def __init__(self, problem: Problem, prng: str = PRNG) -> None:
        require_implemented(problem.experiment)
        self.problem = problem
        weights = {name: jnp.asarray(problem.weights[name]) for name in problem.trainable}
        norms = [name.removesuffix(".gamma") for name in weights if name.endswith(".gamma")]
        moments = ("running_mean", "running_variance")
        self.state: Tree = {
            "weights": weights,
            "running": {n: tuple(jnp.asarray(problem.weights[f"{n}.{moment}"]) for moment in moments) for n in norms},
            "m": jax.tree.map(jnp.zeros_like, weights),
            "v": jax.tree.map(jnp.zeros_like, weights),
            "t": jnp.float32(0),
        }
        self.key = jax.random.key(problem.experiment.seed, impl=prng)
        self.data = tuple(jnp.asarray(v) for v in (problem.images, problem.labelled, problem.labels))
        self._step = functools.partial(train_step, e=problem.experiment, label_weights=problem.label_weights)
        self._block = jax.jit(self._scan, donate_argnums=(0, 1))
        self._given = jax.jit(self._gather_and_step)

    def run(self, *inputs: np.ndarray) -> Arrays:
        """A block of steps with fresh noise: stacked inputs -> stacked outputs."""
        self.state, self.key, outputs = self._block(self.state, self.key, self.data, inputs)
        return jax.device_get(outputs)

    def run_given(self, noise: Arrays, *inputs: np.ndarray) -> Arrays:
        """One step with noise from outside, for the equality check."""
        self.state, outputs = self._given(self.state, self.data, noise, inputs)
        return jax.device_get(outputs)

    def values(self) -> Arrays:
        """Weights, running averages and Adam's moments, named as in a checkpoint."""
        state = jax.device_get(self.state)
        named = {f"weights/{name}": value for name, value in state["weights"].items()}
        for name, (mean, variance) in state["running"].items():
            named |= {f"weights/{name}.running_mean": mean, f"weights/{name}.running_variance": variance}
        return named | {f"adam/{k}/{name}": value for k in "mv" for name, value in state[k].items()}

    def _gather_and_step(self, state: Tree, data: Any, noise: Tree, inputs: Any) -> tuple[Tree, Tree]:
        (images, labelled, labels), (batch, batch_l, temperature, rate) = data, inputs
        return self._step(state, images[batch], labelled[batch_l], labels[batch_l], noise, temperature, rate)

    def _scan(self, state: Tree, key: Any, data: Any, inputs: Any) -> tuple[Tree, Any, Tree]:
        def body(carry: Any, step_inputs: Any) -> tuple[Any, Tree]:
            state, key = carry
            key, *keys = jax.random.split(key, 1 + len(shapes))
            noise = {
                name: (jax.random.uniform if name.startswith("binarise") else jax.random.normal)(k, shape)
                for k, (name, shape) in zip(keys, shapes.items(), strict=True)
            }
            state, outputs = self._gather_and_step(state, data, noise, step_inputs)
            return (state, key), outputs

        shapes = self.problem.noise_shapes()
        (state, key), outputs = lax.scan(body, (state, key), inputs)
        return state, key, outputs
