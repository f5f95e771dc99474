"""An Op without a conversion is named, at once, with the way to add one; and adding one works."""

import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from theano import scalar as S
from theano.compile.mode import Mode
from theano.graph.basic import Apply
from theano.graph.op import Op
from theano.sandbox.rng_mrg import MRG_RandomStream
from theano.tensor.elemwise import CAReduce, Elemwise
from xla_cases import normal

from parmesan_cagem.engines.xla.conversions import UnconvertibleOp, convert, convert_scalar
from parmesan_cagem.engines.xla.convert import Unconvertible

WAY_OUT = r"see parmesan_cagem/engines/xla/convert\.py, or use mode='FAST_RUN'"


def fresh_op():
    """An Op that no conversion knows: x + 3."""

    class AddThree(Op):
        __props__ = ()

        def make_node(self, x):
            return Apply(self, [x], [x.type()])

        def perform(self, node, inputs, outputs):
            outputs[0][0] = inputs[0] + np.float32(3)

    return AddThree()


def fresh_scalar_op():
    class Tripled(S.UnaryScalarOp):
        nfunc_spec = None

        def impl(self, x):
            return 3 * x

        def c_code(self, node, name, inputs, outputs, sub):
            return f"{outputs[0]} = 3 * {inputs[0]};"

    return Tripled(S.same_out, name="tripled")


def test_an_op_of_theano_that_is_unknown():
    x = T.matrix()
    with pytest.raises(
        UnconvertibleOp, match=rf"for the Op MatrixInverse .*convert\.register\(MatrixInverse\), {WAY_OUT}"
    ):
        theano.function([x], T.nlinalg.matrix_inverse(x), mode="XLA")
    assert issubclass(UnconvertibleOp, Unconvertible)


def test_an_op_of_ones_own_and_its_conversion():
    op, x = fresh_op(), T.vector()
    with pytest.raises(UnconvertibleOp, match=r"AddThree.*@convert\.register\(AddThree\)"):
        theano.function([x], op(x) * 2, mode="XLA")

    @convert.register(type(op))
    def _(op, node, x):
        return x + 3

    xla_cases.same(theano.function([x], op(x) * 2, mode="XLA")(normal(3)), 2 * (normal(3) + 3))


def test_a_scalar_op_of_ones_own_and_its_conversion():
    op, x = fresh_scalar_op(), T.vector()
    a = S.float32()
    within = Elemwise(S.Composite([a], [op(S.exp(a))]))
    for build in (Elemwise(op), within):
        with pytest.raises(UnconvertibleOp, match=r"tripled.*@convert_scalar\.register\(Tripled\)"):
            theano.function([x], build(x), mode=Mode("xla", optimizer=None))

    @convert_scalar.register(type(op))
    def _(op, node, x):
        return 3 * x

    xla_cases.same(theano.function([x], Elemwise(op)(x), mode="XLA")(normal(3)), 3 * normal(3))
    found = theano.function([x], within(x), mode=Mode("xla", optimizer=None))(normal(3))
    xla_cases.same(found, 3 * np.exp(normal(3)))


def test_a_reduction_that_is_unknown():
    x = T.vector()
    with pytest.raises(Unconvertible, match="cannot reduce by"):
        theano.function([x], CAReduce(S.sub, (0,))(x), mode="XLA")(normal(3))


def test_sampling_without_replacement_is_not_mistaken_for_multinomial():
    """Its Op is a subclass of the multinomial's, and returns places instead of counts."""
    p = np.full((2, 4), 0.25, "float32")
    with pytest.raises(UnconvertibleOp, match="ChoiceFromUniform"):
        theano.function([], MRG_RandomStream(1).choice(size=2, p=p, replace=False), mode="XLA")


def test_other_modes_are_as_before():
    x = T.matrix()
    inverse = theano.function([x], T.nlinalg.matrix_inverse(x), mode=xla_cases.REFERENCE)
    xla_cases.same(inverse(2 * np.eye(2, dtype="float32")), np.eye(2, dtype="float32") / 2)
