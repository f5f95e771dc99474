"""Every conversion, registered by importing the modules that hold them."""

from parmesan_cagem.engines.xla import indexing, random, scalars, shapes, tensors
from parmesan_cagem.engines.xla.convert import Program, UnconvertibleOp, convert, convert_scalar

TABLES = (indexing, random, scalars, shapes, tensors)

__all__ = ["TABLES", "Program", "UnconvertibleOp", "convert", "convert_scalar"]
