"""Which numbers of a training step the labels can reach: theta_y and phi_y, proven by name, and nothing else."""

import functools

import numpy as np
import pytest
import theano.tensor as T
import toy
from theano.scalar.basic import Second
from toy_step import differing, in_networks, reached_by_labels, slopes, start, trained

from parmesan_cagem.normalisation import BatchStatistics, GivenStatistics, RunningStatistics

CLASSES = 3
Y = np.array([0, 2, 1, 1, 0])
NETWORKS = ("q_z1", "q_y", "q_z2", "p_y", "p_z1", "p_x")
STATISTICS = ("unlabelled", "own", "running")


@functools.cache
def cross_entropy_gradients(statistics, routing, class_bn="uniform"):
    """In float64: (model, the unlabelled and labelled draws, {(H, parameter name): gradient, None if disconnected})."""
    with toy.precision("float64"):
        built = toy.model(class_bn=class_bn, routing=routing)
        unlabelled, labelled = toy.draws(built, 6), toy.draws(built, len(Y), seed=7)
        variables, y = [T.matrix() for _ in range(6)], T.ivector()
        source = BatchStatistics()
        built.terms(variables[0], variables[1:3], source)
        used = {"unlabelled": GivenStatistics(source), "own": BatchStatistics(), "running": RunningStatistics()}
        given = built.labelled(variables[3], y, variables[4:], used[statistics])
        assert set(given) == {"H_q", "H_p"}
        names = [p.name for p in built.params(trainable=True)]
        gradients = {}
        for h, cross_entropies in given.items():
            objective = T.mean(cross_entropies)
            wanted = built.params(trainable=True)
            found = T.grad(objective, wanted, disconnected_inputs="ignore", return_disconnected="None")
            gradients.update({(h, name): gradient for name, gradient in zip(names, found, strict=True)})
        connected = {key: gradient for key, gradient in gradients.items() if gradient is not None}
        inputs = dict(zip([*variables, y], [*unlabelled, *labelled, Y], strict=True))
        values = toy.compute(connected, inputs)
    return built, unlabelled, labelled, {**dict.fromkeys(gradients), **values}


def is_zero(gradient):
    return gradient is None or not np.any(gradient)


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
