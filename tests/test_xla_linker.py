"""theano.function with mode="XLA" means what it means in Theano: state, inputs, results, shapes, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from theano.graph.fg import FunctionGraph
from theano.ifelse import ifelse
from theano.tensor.opt import Assert
from xla_cases import integers, normal

from parmesan_cagem.engines.xla.convert import Unconvertible
from parmesan_cagem.engines.xla.linker import XLALinker


def function(*args, **kwargs):
    return theano.function(*args, mode="XLA", **kwargs)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "uint8", "bool"])
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_values_of_every_kind_pass_through(ndim, dtype):
    value = integers(*range(2, 2 + ndim), low=0).astype(dtype)
    x = xla_cases.tensor(value)
    same, shown = function([x], [x, T.eq(x, x)])(value)
    xla_cases.same(same, value)
    xla_cases.same(shown, np.ones(value.shape, bool))
    assert not np.shares_memory(same, value)


def test_results_are_ours_to_write_in():
    x = T.vector()
    state = theano.shared(normal(3, seed=1))
    run = function([x], [x, state, x + state, T.ones(3)])
    given, before = normal(3), state.get_value()
    for result in run(given):
        result[...] = 99
    assert np.array_equal(given, normal(3))
    assert np.array_equal(state.get_value(), before)
    assert np.array_equal(run(given)[3], np.ones(3))


def test_one_variable_returned_twice():
    x = T.vector()
    double = 2 * x
    results = function([x], [double, double, x, x])(normal(3))
    assert np.array_equal(results[0], results[1])
    assert not any(np.shares_memory(a, b) for i, a in enumerate(results) for b in results[:i])


def test_constants_and_dictionaries_of_outputs():
    x = T.scalar()
    assert [float(value) for value in function([x], [T.constant(3.5), x, T.constant(2) * 3])(1)] == [3.5, 1, 6]
    assert function([], T.constant(np.arange(3)))().tolist() == [0, 1, 2]
    assert float(function([x], {"a": x + 1, "b": x})(1)["a"]) == 2


def test_shared_state_and_updates():
    x = T.vector()
    total, count = theano.shared(np.zeros(2, "float32")), theano.shared(np.int64(0))
    step = function([x], total.sum(), updates=[(total, total + x), (count, count + 1)])
    assert float(step([1, 2])) == 0  # outputs are of the state before the updates
    assert float(step([1, 2])) == 3
    assert total.get_value().tolist() == [2, 4]
    assert count.get_value() == 2
    assert count.get_value().dtype == "int64"
    total.set_value(np.full(2, 10, "float32"))
    assert float(step([0, 0])) == 20
    assert float(function([], total.sum())()) == 20  # another function sees the same state


def test_updates_alone_and_exchanged_states():
    a, b = theano.shared(normal(2)), theano.shared(normal(2, seed=1))
    swap = function([], [], updates=[(a, b), (b, a)])
    assert swap() == []
    assert np.array_equal(a.get_value(), normal(2, seed=1))
    assert np.array_equal(b.get_value(), normal(2))
    a.get_value(borrow=True)[...] = 5
    assert b.get_value().tolist() == normal(2).tolist()


def test_borrowed_state_is_read_anew():
    memory = normal(3)
    state = theano.shared(memory, borrow=True)
    run = function([], state * 2)
    run()
    memory[...] = 7
    assert run().tolist() == ([14] * 3 if state.get_value(borrow=True) is memory else (2 * normal(3)).tolist())
    state.set_value(np.full(3, 4, "float32"), borrow=True)
    assert run().tolist() == [8] * 3


def test_state_may_change_its_shape():
    state = theano.shared(normal(3))
    grow = function([], state.shape[0], updates=[(state, T.concatenate([state, state[:1]]))])
    assert [int(grow()) for _ in range(3)] == [3, 4, 5]
    assert state.get_value().shape == (6,)


def test_givens_defaults_and_keywords():
    x, y, z = T.scalar("x"), T.scalar("y"), T.scalar("z")
    run = function([x, theano.In(y, value=10), theano.In(z, name="named", value=0)], x + 2 * y + 3 * z)
    assert [float(v) for v in (run(1), run(1, 1), run(1, named=2), run(1, y=0, named=1))] == [21, 3, 27, 4]
    data, index = theano.shared(normal(5, 2)), T.lscalar()
    row = T.vector()
    batch = function([index], row * 2, givens={row: data[index]})
    assert np.array_equal(batch(3), 2 * normal(5, 2)[3])


def test_one_program_for_each_combination_of_shapes(monkeypatch):
    programs = []
    monkeypatch.setattr(jax, "jit", lambda program, jit=jax.jit: jit(lambda *v: programs.append(v) or program(*v)))
    x, y = T.matrix(), T.vector()
    run = function([x, y], [T.dot(x, y), x.shape, x.reshape((x.shape[1], -1))])
    for shape in [(2, 3), (5, 3), (2, 3), (1, 4), (5, 3), (2, 3)]:
        product, size, turned = run(normal(*shape), normal(shape[1], seed=1))
        xla_cases.same(product, normal(*shape) @ normal(shape[1], seed=1))
        assert tuple(size) == shape
        assert turned.shape == shape[::-1]
    assert len(programs) == 3


def test_the_graph_is_there_to_inspect():
    x = T.vector()
    run = function([x], T.exp(x), name="exponential")
    assert isinstance(run.maker.fgraph, FunctionGraph)
    assert isinstance(run.maker.linker, XLALinker)
    assert xla_cases.ops(run) == [T.exp]
    assert run.name == "exponential"


def test_two_functions_of_one_mode_do_not_mix():
    x = T.vector()
    one, other = function([x], x + 1), function([x], x * 5)
    assert (one([1]).tolist(), other([1]).tolist(), one([2]).tolist()) == ([2], [5], [3])


def test_an_error_while_running_leaves_the_function_usable():
    x, state = T.vector(), theano.shared(np.float32(0))
    run = function([x], x.reshape((2, 3)), updates=[(state, state + x.sum())])
    for size in (5, 7):
        with pytest.raises(TypeError, match="reshape"):
            run(np.ones(size, "float32"))
    assert state.get_value() == 0
    assert run(np.ones(6, "float32")).shape == (2, 3)
    assert state.get_value() == 6
    with pytest.raises(TypeError, match="Bad input"):
        run(np.ones((2, 3), "float32"))
    assert run(np.ones(6, "float32")).shape == (2, 3)


def test_shapes_that_do_not_fit_are_an_error():
    x, y = T.matrix(), T.matrix()
    with pytest.raises((TypeError, ValueError), match="shape"):
        function([x, y], x + y)(normal(2, 3), normal(2, 4))
    with pytest.raises((TypeError, ValueError), match="dot_general"):
        function([x, y], T.dot(x, y))(normal(2, 3), normal(2, 3))


def test_branches():
    x, choice = T.vector(), T.lscalar()
    run = function([x, choice], ifelse(T.gt(choice, 0), (x * 2, x.sum()), (-x, x.max())))
    for number, expected in [(3, (2 * normal(3), normal(3).sum())), (-1, (-normal(3), normal(3).max()))]:
        for found, value in zip(run(normal(3), number), expected, strict=True):
            xla_cases.same(found, value)
    gradient = function([x, choice], T.grad(ifelse(choice, (x**2).sum(), x.sum()), x))
    xla_cases.same(gradient(normal(3), 1), 2 * normal(3))
    xla_cases.same(gradient(normal(3), 0), np.ones(3, "float32"))


def test_a_branch_chosen_by_a_shape_may_have_another_shape():
    x = T.vector()
    run = function([x], ifelse(T.gt(x.shape[0], 2), x[:2], T.concatenate([x, x, x])))
    xla_cases.same(run(normal(4)), normal(4)[:2])
    xla_cases.same(run(normal(1)), np.tile(normal(1), 3))
    size = function([x], T.ones((ifelse(T.gt(x.shape[0], 2), x.shape[0], T.constant(7, dtype="int64")),)))
    assert [size(normal(n)).shape for n in (1, 4)] == [(7,), (4,)]


def test_branches_of_different_shapes_chosen_by_data_are_refused():
    x, y, choice = T.vector(), T.vector(), T.lscalar()
    run = function([x, y, choice], ifelse(choice, x, y))
    with pytest.raises(Unconvertible, match="shape"):
        run(normal(1), normal(3), 1)
    xla_cases.same(run(normal(3), normal(3, seed=1), 0), normal(3, seed=1))


def test_assertions():
    x = T.vector()
    run = function([x], Assert("too many")(x, T.lt(x.shape[0], 4)) * 2)
    xla_cases.same(run(normal(3)), 2 * normal(3))
    with pytest.raises(AssertionError, match="too many"):
        run(normal(4))
    run = function([x], Assert("negative")(x, T.all(x >= 0)) * 2)  # no running XLA program can raise
    assert run([1, 2]).tolist() == [2, 4]
    assert np.isnan(run([1, -2])).all()


def test_the_users_jax_stays_as_it_was():
    assert jnp.arange(3).dtype == jnp.int32
    x = T.dvector()
    run = function([x], [T.exp(x), T.arange(x.shape[0])])
    value, places = run([1.0, 2.0])
    assert (value.dtype, places.dtype) == (np.float64, np.int64)
    assert jnp.arange(3).dtype == jnp.int32
    with pytest.raises(TypeError):
        function([x], x.reshape((2, 2)))([1.0])
    assert jnp.arange(3).dtype == jnp.int32
    assert jax.jit(lambda v: v * 2)(np.ones(2)).dtype == jnp.float32
    assert run([1.0, 2.0])[0].dtype == np.float64


def test_gradient_barriers_and_clips():
    def build(x):
        parts = [
            theano.gradient.zero_grad(x),
            theano.gradient.grad_clip(x**3, -1, 1),
            theano.gradient.disconnected_grad(x),
        ]
        return [x * part for part in parts]

    xla_cases.agree(build, 3 * normal(5))
