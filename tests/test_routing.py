"""Which numbers of a training step the labels can reach: theta_y and phi_y, proven by name, and nothing else."""

import functools

import numpy as np
import pytest
import theano
import theano.tensor as T
import toy
from scipy.special import logsumexp
from theano.scalar.basic import Second

from parmesan_cagem import objectives, training_step
from parmesan_cagem.normalisation import BatchStatistics, GivenStatistics, RunningStatistics
from parmesan_cagem.randomness import NamedStreams, Purpose

CLASSES = 3
Y = np.array([0, 2, 1, 1, 0])
NETWORKS = ("q_z1", "q_y", "q_z2", "p_y", "p_z1", "p_x")
STATISTICS = ("unlabelled", "own", "running")


def in_networks(name, *networks):
    return name.split(".")[0] in networks


@functools.cache
def cross_entropy_gradients(statistics, routing, class_bn="uniform"):
    """In float64: (model, the unlabelled and labelled draws, {(H, parameter name): gradient, None if disconnected})."""
    with toy.precision("float64"):
        built = toy.model(class_bn=class_bn)
        unlabelled, labelled = toy.draws(built, 6), toy.draws(built, len(Y), seed=7)
        variables, y = [T.matrix() for _ in range(6)], T.ivector()
        source = BatchStatistics()
        objectives.log_terms(built, *variables[:3], source)
        used = {"unlabelled": GivenStatistics(source), "own": BatchStatistics(), "running": RunningStatistics()}
        pair = objectives.class_log_probabilities(built, *variables[3:], used[statistics], routing)
        names = [p.name for p in built.params(trainable=True)]
        gradients = {}
        for h, log_probabilities in zip(("H_q", "H_p"), pair, strict=True):
            objective = T.mean(objectives.cross_entropy(log_probabilities, y))
            wanted = built.params(trainable=True)
            found = T.grad(objective, wanted, disconnected_inputs="ignore", return_disconnected="None")
            gradients.update({(h, name): gradient for name, gradient in zip(names, found, strict=True)})
        connected = {key: gradient for key, gradient in gradients.items() if gradient is not None}
        inputs = dict(zip([*variables, y], [*unlabelled, *labelled, Y], strict=True))
        values = toy.compute(connected, inputs)
    return built, unlabelled, labelled, {**dict.fromkeys(gradients), **values}


def is_zero(gradient):
    return gradient is None or not np.any(gradient)


def trained(built):
    return [p.name for p in built.params(trainable=True)]


@pytest.mark.parametrize("class_bn", ["uniform", "q"])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_outside_theta_y_and_phi_y_the_gradient_is_exactly_zero(statistics, class_bn):
    built, _, _, gradients = cross_entropy_gradients(statistics, "paper", class_bn)
    outside = [name for name in trained(built) if not in_networks(name, "p_y", "q_y")]
    assert {name.split(".")[0] for name in outside} == {"q_z1", "q_z2", "p_z1", "p_x"}
    assert [(h, name) for name in outside for h in ("H_q", "H_p") if not is_zero(gradients[h, name])] == []


@pytest.mark.parametrize("class_bn", ["uniform", "q"])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_inside_theta_y_and_phi_y_no_gradient_is_zero(statistics, class_bn):
    """H_q reaches all of phi_y; H_p all of theta_y and, by its weights q(c|z1,x), all of phi_y."""
    built, _, _, gradients = cross_entropy_gradients(statistics, "paper", class_bn)
    for name in (p.name for p in (*built.theta_y, *built.phi_y)):
        assert is_zero(gradients["H_q", name]) == in_networks(name, "p_y"), name
        assert not is_zero(gradients["H_p", name]), name
    parts = {name.partition(".")[2] for name in trained(built) if in_networks(name, "p_y", "q_y")}
    assert {"bn1.gamma", "bn1.beta", "bn2.gamma", "bn2.beta", "logits.W", "logits.b"} <= parts


def test_full_routing_reaches_all_that_the_classifiers_are_made_of():
    built, _, _, gradients = cross_entropy_gradients("unlabelled", "full")
    for name in trained(built):
        assert is_zero(gradients["H_q", name]) == (not in_networks(name, "q_z1", "q_y")), name
        assert is_zero(gradients["H_p", name]) == in_networks(name, "p_z1", "p_x"), name


def oracle_cross_entropies(oracle, labelled, statistics):
    log_q, log_p = toy.classifiers(oracle.forward(*labelled, statistics))
    return {"H_q": -np.mean(log_q[range(len(Y)), Y]), "H_p": -np.mean(log_p[range(len(Y)), Y])}


def slopes(function, weights, name, step=1e-6, entries=None):
    """Central differences of the numbers that ``function`` returns, by each entry (or some) of a weight."""
    value = weights[name]
    places = list(np.ndindex(value.shape))[:entries]
    found = {}
    for place in places:
        ends = []
        for sign in (1, -1):
            moved = value.copy()
            moved[place] += sign * step
            ends.append(function({**weights, name: moved}))
        found[place] = {key: (ends[0][key] - ends[1][key]) / (2 * step) for key in ends[0]}
    return found


@pytest.mark.parametrize("class_bn", ["uniform", "q"])
@pytest.mark.parametrize(
    ("statistics", "routing"), [("unlabelled", "paper"), ("running", "paper"), ("unlabelled", "full")]
)
def test_gradients_equal_finite_differences(statistics, routing, class_bn):
    """Float64; the statistics of the unlabelled pass are held fixed, as GivenStatistics says.

    Neither z1 nor z2 depends on theta_y or phi_y then, so nothing else needs to be held. With ``full`` routing they
    move, and the differences by the weights of q(z1|x) and q(z2|x,y,z1) are those of everything.
    """
    built, unlabelled, labelled, gradients = cross_entropy_gradients(statistics, routing, class_bn)
    oracle = toy.Oracle.of(built)
    oracle.forward(*unlabelled, "batch")
    used = "running" if statistics == "running" else dict(oracle.seen)

    def cross_entropies(weights):
        return oracle_cross_entropies(toy.Oracle(built.experiment, weights), labelled, used)

    networks = ("q_y", "p_y") if routing == "paper" else ("q_z1", "q_y", "q_z2", "p_y")
    for name in (name for name in trained(built) if in_networks(name, *networks)):
        for place, expected in slopes(cross_entropies, toy.weights_of(built), name).items():
            for h in ("H_q", "H_p"):
                given = 0.0 if gradients[h, name] is None else gradients[h, name][place]
                assert given == pytest.approx(expected[h], rel=1e-5, abs=1e-8), (h, name, place)


def test_it_is_the_routing_that_makes_the_zeros():
    """The cross-entropies themselves do change with the weights whose gradient is zero."""
    built, _, labelled, gradients = cross_entropy_gradients("running", "paper")

    def cross_entropies(weights):
        return oracle_cross_entropies(toy.Oracle(built.experiment, weights), labelled, "running")

    for name, h in (("q_z1.mu.b", "H_q"), ("q_z1.mu.b", "H_p"), ("q_z2.mu.b", "H_p"), ("q_z2.bn1.gamma", "H_p")):
        assert is_zero(gradients[h, name])
        found = slopes(cross_entropies, toy.weights_of(built), name).values()
        assert max(abs(slope[h]) for slope in found) > 1e-3, (name, h)


# The whole step

BYTES = np.random.default_rng(4).integers(0, 256, (12, toy.X_DIM)).astype("uint8")
LABELLED = np.random.default_rng(5).integers(0, 256, (7, toy.X_DIM)).astype("uint8")
LABELS = np.array([0, 1, 2, 2, 1, 0, 0])
BATCH = np.array([3, 7, 1, 10], "int32")
LABELLED_BATCH = np.array([6, 2, 4], "int32")
W_Q, W_P = 2.0, 3.0
STEP = {"batch_size": 4, "labelled_batch_size": 3, "seed": 3}


class Step:
    """A compiled training step of a tiny model."""

    def __init__(self, labels=True, weights=0, **changes):
        self.model = toy.model(weights=weights, **STEP, **changes)
        self.e = self.model.experiment
        labelled = (LABELLED, (W_Q, W_P), LABELS) if labels else (None, (W_Q, W_P))
        self.built = training_step.build(self.model, self.e, BYTES, *labelled)
        self.labels = labels
        self.function = toy.ENGINE.steps(
            self.built.inputs, list(self.built.outputs.values()), list(self.built.updates.items()), "step"
        )

    def __call__(self, batch=BATCH, labelled_batch=LABELLED_BATCH, temperature=1.0, rate=1e-3):
        batches = [batch, labelled_batch] if self.labels else [batch]
        values = [*batches, temperature, rate]
        sequences = [np.array([v], variable.dtype) for v, variable in zip(values, self.built.inputs, strict=True)]
        outputs = self.function(*sequences)
        return {name: value[0] for name, value in zip(self.built.outputs, outputs, strict=True)}

    def state(self):
        return {name: variable.get_value() for name, variable in self.built.state.items()}

    def restore(self, state):
        for name, value in state.items():
            self.built.state[name].set_value(value)


@functools.cache
def compiled(**changes):
    return Step(**changes)


def start(**changes):
    """A compiled step in its initial state: compiled once, whatever ran before."""
    step = compiled(**changes)
    if not hasattr(step, "first"):
        step.first = step.state()
    step.restore(step.first)
    return step


def differing(one, other):
    assert one.keys() == other.keys()
    return {name for name in one if not np.array_equal(one[name], other[name])}


def reached_by_labels(step):
    inside = {p.name for p in (*step.model.theta_y, *step.model.phi_y)}
    return {f"{place}/{name}" for place in ("weights", "adam/m", "adam/v") for name in inside}


@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_norm": 1.0}, {"labelled_bn": "own", "class_bn": "q"}],
    ids=["no clipping", "clip_norm 1", "own statistics, class_bn q"],
)
def test_labels_change_only_theta_y_and_phi_y_bitwise(changes):
    """From each of several states, a step on either of two labelled batches; Adam and running averages included."""
    step = start(**changes)
    inside = reached_by_labels(step)
    clipped = []
    for number in range(4):
        before = step.state()
        one = step(labelled_batch=np.array([0, 1, 2], "int32"))
        after_one = step.state()
        step.restore(before)
        other = step(labelled_batch=np.array([5, 5, 3], "int32"))
        after_other = step.state()
        changed = differing(after_one, after_other)
        assert changed <= inside, number
        assert {name for name in inside if number or "adam" in name} <= changed, number  # Adam begins with the sign
        moved = differing(before, after_one)
        assert {name for name in before if "running" in name or name.startswith("random/")} <= moved
        assert one["gradient_norm_rest"] == other["gradient_norm_rest"]
        assert one["gradient_norm_y"] != other["gradient_norm_y"]
        clipped.append(one["gradient_norm_y"] > 1 < one["gradient_norm_rest"])
    assert any(clipped)  # else clip_norm = 1 would be no case of its own


def sources(expression):
    """All variables whose values an expression is computed from; ``second(a, b)`` is b, in the shape of a."""
    found, left = set(), [expression]
    while left:
        variable = left.pop()
        if variable not in found:
            found.add(variable)
            apply = variable.owner
            if apply is not None:
                shape_only = isinstance(getattr(apply.op, "scalar_op", None), Second)
                left.extend(apply.inputs[1:] if shape_only else apply.inputs)
    return found


@pytest.mark.parametrize(
    "changes",
    [{}, {"clip_norm": 1.0}, {"labelled_bn": "own", "class_bn": "q"}],
    ids=["no clipping", "clip_norm 1", "own statistics, class_bn q"],
)
def test_no_path_leads_from_the_labelled_batch_to_anything_else(changes):
    """The same, of the graph: true for every value and every engine."""
    step = start(**changes)
    labelled_batch = step.built.inputs[1]
    assert labelled_batch.name == "labelled_batch"
    names = {variable: name for name, variable in step.built.state.items()}
    fed = {names[old] for old, new in step.built.updates.items() if labelled_batch in sources(new)}
    assert fed == reached_by_labels(step)


def test_full_routing_lets_labels_change_the_inference_networks():
    step = start(routing="full")
    before = step.state()
    step(labelled_batch=np.array([0, 1, 2], "int32"))
    one = step.state()
    step.restore(before)
    step(labelled_batch=np.array([5, 5, 3], "int32"))
    changed = {
        name.removeprefix("weights/").split(".")[0] for name in differing(one, step.state()) if "adam" not in name
    }
    assert changed == {"q_z1", "q_y", "q_z2", "p_y"}


def test_the_step_changes_all_of_its_state_and_nothing_else():
    step = start()
    variables = list(step.built.state.values())
    assert len(variables) == len(set(variables))
    assert set(step.built.updates) == set(variables)
    before = step.state()
    step()
    assert differing(before, step.state()) == set(before)
    names = {p.name for p in step.model.params(trainable=True)}
    expected = {f"weights/{p.name}" for p in step.model.params()}
    expected |= {f"adam/{moment}/{name}" for moment in "mv" for name in names} | {"adam/t"}
    assert {name for name in before if not name.startswith("random/")} == expected


def test_steps_are_a_function_of_the_state():
    step = start()
    before = step.state()
    first = step()
    middle = step.state()
    second = step()
    assert first["F"] != second["F"]
    step.restore(middle)
    assert differing(step(), second) == set()
    step.restore(before)
    assert differing(step(), first) == set()


# Labels 0


def test_without_labels_no_labelled_pass_is_built():
    with_labels, without = start(), start(labels=False)
    assert [v.name for v in without.built.inputs] == ["batch", "temperature", "learning_rate"]
    assert [v.name for v in with_labels.built.inputs] == ["batch", "labelled_batch", "temperature", "learning_rate"]
    assert set(with_labels.built.outputs) - set(without.built.outputs) == {"H_q", "H_p"}
    streams = [{name for name in step.built.state if name.startswith("random/")} for step in (with_labels, without)]
    assert streams[1] == {"random/binarise", "random/eps_z1", "random/eps_z2"}
    assert streams[0] - streams[1] == {"random/binarise_labelled", "random/eps_z1_labelled", "random/eps_z2_labelled"}


def test_labels_do_not_disturb_the_unlabelled_pass():
    """Bitwise: the same noise and the same bound in the first step, and the same new weights outside."""
    with_labels, without = start(), start(labels=False)
    one, other = with_labels(), without()
    for name in other:
        assert np.array_equal(one[name], other[name]) == (name != "gradient_norm_y"), name
    after = without.state()
    mine = {name: value for name, value in with_labels.state().items() if name in after}
    assert {n for n in differing(mine, after) if "adam" in n} == {
        n for n in reached_by_labels(with_labels) if "adam" in n
    }
    assert differing(mine, after) <= reached_by_labels(with_labels)


# The numbers of a step, with noise that NumPy knows


def binary(images, batch, name):
    probability = images[batch] / 256
    return (toy.fixed_noise(name, probability.shape, "uniform") < probability).astype(float)


def noisy(suffix, count, e):
    shapes = (("eps_z1", (count, e.z1_dim)), ("eps_z2", (count * e.clusters, e.z2_dim)))
    return [toy.fixed_noise(name + suffix, shape) for name, shape in shapes]


@functools.cache
def fixed(**changes):
    """A step in float64 with FixedStreams, its initial weights, what one step returned and the state after it."""
    with pytest.MonkeyPatch.context() as patch, toy.precision("float64"):
        patch.setattr(training_step, "NamedStreams", toy.FixedStreams)
        step = Step(**changes)
        weights = toy.weights_of(step.model)
        outputs = step(temperature=0.6)
        after = step.state()
        step(temperature=0.6)
        return step, weights, outputs, after, step.state()


FIXED = [{}, {"labelled_bn": "own"}, {"class_bn": "q"}, {"labels": False}]


def passes(e, weights):
    """The oracle's unlabelled pass, its statistics, and the labelled draws."""
    oracle = toy.Oracle(e, weights)
    x = binary(BYTES, BATCH, "binarise").repeat(e.train_iw, axis=0)
    terms = oracle.forward(x, *noisy("", len(x), e), "batch")
    statistics = dict(oracle.seen)
    x_l = binary(LABELLED, LABELLED_BATCH, "binarise_labelled")
    return oracle, terms, statistics, (x_l, *noisy("_labelled", len(x_l), e))


def labelled_terms(oracle, labelled, statistics):
    log_q, log_p = toy.classifiers(oracle.forward(*labelled, statistics))
    y = LABELS[LABELLED_BATCH]
    return {"H_q": -np.mean(log_q[range(3), y]), "H_p": -np.mean(log_p[range(3), y])}


@pytest.mark.parametrize("changes", FIXED, ids=str)
def test_outputs_of_a_step(changes):
    step, weights, outputs, _, _ = fixed(**changes)
    oracle, terms, statistics, labelled = passes(step.e, weights)
    expected = {"objective": toy.bound(terms, 0.6).mean(), "F": toy.bound(terms).mean()}
    if step.labels:
        own = step.e.labelled_bn == "own"
        expected.update(labelled_terms(oracle, labelled, "batch" if own else statistics))
    for name, value in expected.items():
        assert outputs[name] == pytest.approx(value, rel=1e-9), name
    assert outputs["usage"] == pytest.approx(np.exp(terms.q_y).mean(axis=0), rel=1e-9)
    parts = [outputs[name] for name in ("reconstruction", "KL_z1", "KL_y", "KL_z2_sampled")]
    assert parts[0] - sum(parts[1:]) == pytest.approx(outputs["F"], rel=1e-9)
    assert set(outputs) == {*expected, "usage", "gradient_norm_y", "gradient_norm_rest"} | {
        "reconstruction",
        "KL_z1",
        "KL_y",
        "KL_z2",
        "KL_z2_sampled",
    }


@pytest.mark.parametrize("changes", FIXED, ids=str)
def test_running_averages_move_once_a_step_and_by_the_unlabelled_pass_only(changes):
    step, weights, _, after, after_two = fixed(**changes)
    for start_of, end in ((weights, after), ({n.removeprefix("weights/"): v for n, v in after.items()}, after_two)):
        _, _, statistics, _ = passes(step.e, start_of)
        assert len(statistics) == 12
        for name, (mean, variance) in statistics.items():
            for part, new in (("running_mean", mean), ("running_variance", variance)):
                expected = 0.9 * start_of[f"{name}.{part}"] + 0.1 * new
                assert end[f"weights/{name}.{part}"] == pytest.approx(expected, rel=1e-9, abs=1e-9), (name, part)


@pytest.mark.parametrize("changes", [{}, {"labels": False}, {"train_iw": 2, "labelled_bn": "own"}], ids=str)
def test_the_gradient_of_a_step_equals_finite_differences_of_the_objective(changes):
    """Of mean F - 2 mean H_q - 3 mean H_p, read off Adam's first moment: m = (1 - beta_1) gradient after one step.

    The statistics of the unlabelled pass move with the weights in F and are constants in H (but not its own ones).
    """
    step, weights, outputs, after, _ = fixed(**changes)
    e = step.e
    _, _, held, _ = passes(e, weights)

    def losses(moved):
        oracle, terms, _, labelled = passes(e, moved)
        if e.train_iw == 1:
            loss = {"unlabelled": -toy.bound(terms, 0.6).mean(), "labelled": 0.0}
        else:
            blocks = toy.log_weight(terms, 0.6).reshape(-1, e.train_iw)
            loss = {"unlabelled": -(logsumexp(blocks, axis=1) - np.log(e.train_iw)).mean(), "labelled": 0.0}
        if step.labels:
            h = labelled_terms(oracle, labelled, "batch" if e.labelled_bn == "own" else held)
            loss["labelled"] = W_Q * h["H_q"] + W_P * h["H_p"]
        return loss

    squares = {"gradient_norm_y": 0.0, "gradient_norm_rest": 0.0}
    for name in trained(step.model):
        routed = in_networks(name, "p_y", "q_y")
        gradient = after[f"adam/m/{name}"] / (1 - e.adam_beta1)
        for place, slope in slopes(losses, weights, name, entries=3).items():
            expected = slope["unlabelled"] + (slope["labelled"] if routed else 0)
            assert gradient[place] == pytest.approx(expected, rel=1e-4, abs=1e-6), (name, place)
        squares["gradient_norm_y" if routed else "gradient_norm_rest"] += np.sum(gradient**2)
        assert after[f"adam/v/{name}"] == pytest.approx(gradient**2 * (1 - e.adam_beta2), rel=1e-6, abs=1e-15), name
        moved = weights[name] - 1e-3 * gradient / (np.abs(gradient) + e.adam_epsilon / np.sqrt(1 - e.adam_beta2))
        assert after[f"weights/{name}"] == pytest.approx(moved, rel=1e-9, abs=1e-9), name
    for name, value in squares.items():
        assert outputs[name] == pytest.approx(np.sqrt(value), rel=1e-6)


def test_clipping_takes_the_two_norms_apart():
    plain, clipped = fixed(), fixed(clip_norm=1.0)
    for name in trained(plain[0].model):
        norm = plain[2]["gradient_norm_y" if in_networks(name, "p_y", "q_y") else "gradient_norm_rest"]
        assert norm > 1
        moment = f"adam/m/{name}"
        assert clipped[3][moment] == pytest.approx(plain[3][moment] / norm, rel=1e-5, abs=1e-12), name
        assert clipped[2]["gradient_norm_y"] == pytest.approx(plain[2]["gradient_norm_y"])


@pytest.mark.parametrize("temperature", [0.0, 0.6])
def test_importance_weighted_objective(temperature):
    """The mean over images of log mean_s w_s: rows of one image are neighbours, each with its own noise."""
    step, weights, _, _, _ = fixed(train_iw=2, labelled_bn="own")
    for name, value in weights.items():
        step.built.state[f"weights/{name}"].set_value(value)
    outputs = step(temperature=temperature)
    _, terms, _, _ = passes(step.e, weights)
    log_weights = toy.log_weight(terms, temperature)
    expected = np.mean([np.log((np.exp(log_weights[2 * b]) + np.exp(log_weights[2 * b + 1])) / 2) for b in range(4)])
    assert outputs["objective"] == pytest.approx(expected, rel=1e-9)
    assert outputs["F"] == pytest.approx(toy.bound(terms).mean(), rel=1e-9)
    assert np.abs(log_weights[::2] - log_weights[1::2]).min() > 1e-3


@pytest.mark.parametrize("scale", [256.0, 510.0])
def test_images_are_binarised_afresh_at_every_step(scale):
    """A pixel v is 1 with probability v / pixel_scale, drawn anew for the same image."""
    e, batch, calls = toy.experiment(pixel_scale=scale), T.ivector(), 300
    streams = NamedStreams(e.seed)
    x = training_step._binary_batch(BYTES, batch, e, streams, "binarise", len(BATCH))
    function = theano.function([batch], x, updates=list(streams.updates()), mode="FAST_COMPILE")
    draws = np.stack([function(BATCH) for _ in range(calls)])
    assert draws.dtype == theano.config.floatX
    assert set(np.unique(draws)) == {0.0, 1.0}
    p = BYTES[BATCH] / scale
    assert (np.abs(draws.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / calls)).all()
    assert len(np.unique(draws.reshape(calls, -1), axis=0)) > 0.9 * calls


# Random streams


def stream_draws():
    streams = NamedStreams(5)
    normal = [streams.normal(name, (80, 5)) for name in ("eps_z1", "eps_z2", "eps_z1_labelled")]
    uniform = [streams.uniform(name, (80, 5)) for name in ("binarise", "binarise_labelled")]
    function = theano.function([], [*normal, *uniform], updates=list(streams.updates()), mode="FAST_COMPILE")
    return streams, function


def test_streams_are_distinct_and_standard():
    streams, function = stream_draws()
    starts = [variable.get_value() for variable in streams.states.values()]
    rows = np.concatenate(starts)
    assert len(np.unique(rows, axis=0)) == len(rows)
    draws = np.array([np.ravel(value) for _ in range(2) for value in function()])  # 5 streams, two calls
    standard = np.concatenate([(d - 0.5) * np.sqrt(12) if d.min() >= 0 and d.max() <= 1 else d for d in draws])
    standard = standard.reshape(draws.shape)
    tolerance = 5 / np.sqrt(draws.shape[1])
    assert np.corrcoef(draws) == pytest.approx(np.eye(10), abs=tolerance)
    assert standard.mean(axis=1) == pytest.approx(0, abs=tolerance)
    assert standard.std(axis=1) == pytest.approx(1, abs=tolerance)
    assert len(np.unique(draws[:3])) == draws[:3].size
    assert len(np.unique(draws[3:5])) > 0.99 * draws[3:5].size  # float32 has few numbers near 1
    names = ["eps_z1", "eps_z2", "eps_z1_labelled", "binarise", "binarise_labelled"]
    assert list(streams.states) == names
    assert [variable.name for variable in streams.states.values()] == [f"random/{name}" for name in names]


def test_streams_are_a_function_of_the_seed():
    (one, _), (same, _), other = stream_draws(), stream_draws(), NamedStreams(6)
    other.normal("eps_z1", (80, 5))
    values = [streams.states["eps_z1"].get_value() for streams in (one, same, other)]
    assert np.array_equal(values[0], values[1])
    assert not (values[0] == values[2]).all(axis=1).any()


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_a_second_stream_of_one_name_is_refused(kind):
    streams = NamedStreams(1)
    streams.normal("eps_z1", (2, 2))
    with pytest.raises(ValueError, match="'eps_z1'"):
        getattr(streams, kind)("eps_z1", (2, 2))


def test_purposes_are_distinct_and_fit_the_key():
    """Two equal values would silently be one member; noise() multiplies the seed by 64."""
    assert len(Purpose.__members__) == len(list(Purpose))
    assert max(Purpose) < 64
