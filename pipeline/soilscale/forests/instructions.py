"""Instructions of the processor that Numba has no words for, in the language of LLVM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

LANES = 64
"""Rows of a group: the bits of a word."""


def instruction(write: Callable[..., Any]) -> Any:
    """Let compiled functions call what is written in the language of LLVM."""
    return intrinsic(write)


@instruction
def at_most(_: Any, values: Any, __: Any, ___: Any) -> tuple[Any, Any]:
    """``at_most(values, start, limit)``: bit `i` says whether ``values[start + i] <= limit``; 64 lanes of float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, limit = arguments
        lanes, index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(32)
        place = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [start])
        loaded = builder.load(builder.bitcast(place, lanes.as_pointer()))
        # By default LLVM assumes the vector's natural alignment of 256 bytes; the array is only aligned to 64.
        loaded.align = 4
        nothing = ir.Constant(lanes, ir.Undefined)
        first = builder.insert_element(nothing, limit, ir.Constant(index, 0))
        splat = builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(index, LANES), [0] * LANES))
        return builder.bitcast(builder.fcmp_ordered("<=", loaded, splat), ir.IntType(LANES))

    return numba.uint64(values, numba.intp, numba.float32), generate


@instruction
def lowest(_: Any, __: Any) -> tuple[Any, Any]:
    """``lowest(word)``: number of the lowest bit that is set; 64 where none is."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return numba.uint64(numba.uint64), generate
