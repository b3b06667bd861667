"""Machine code for this processor: functions of addresses and counts, compiled by LLVM and kept on disk.

A function is ``void (i64, i64, ...)``; Numba code calls it by its address with ``call``. LLVM comes with Numba, so no
compiler is needed. What was compiled is kept (see ``cache``) under a digest of the instructions and of the processor,
which is this one, or what ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` say.
"""

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import llvmlite
from llvmlite import binding, ir
from numba import config as numba_config
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from snn_action.snn.fused.cpu import cache

logger = logging.getLogger(__name__)

FOLDER = "strips"
settings: Any = numba_config
_ADDRESS = ir.IntType(64)
_TUPLE: Any = types.BaseTuple
_engines: list[Any] = []  # what owns the machine code; it lives as long as the process


def compile_function(name: str, count: int, emit: Callable[[Any, list[Any]], None]) -> int:
    """The address of a function of ``count`` integers; ``emit(builder, integers)`` writes what it does."""
    text = write_function(name, count, emit)
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    processor, features = choose_processor()
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=processor, features=features, opt=3, jit=True
    )
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target)
    key = "\n".join([text, processor, features, llvmlite.__version__])
    engine.add_object_file(_fetch(key, text, target))
    engine.finalize_object()
    _engines.append(engine)
    address: int = engine.get_function_address(name)
    return address


def write_function(name: str, count: int, emit: Callable[[Any, list[Any]], None]) -> str:
    """The function in LLVM's language, for any processor."""
    module = ir.Module(name)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_ADDRESS] * count), name)
    builder = ir.IRBuilder(function.append_basic_block())
    emit(builder, list(function.args))
    builder.ret_void()
    return str(module)


def choose_processor() -> tuple[str, str]:
    """Name and features of the processor that is compiled for, as Numba chooses them."""
    processor, features = settings.CPU_NAME, settings.CPU_FEATURES
    if features is None:
        features = binding.get_host_cpu_features().flatten()
    return processor or binding.get_host_cpu_name(), features


def _fetch(key: str, text: str, target: Any) -> Any:
    """The object code of a module, from disk where it is there and whole."""
    folder = cache.find_folder(FOLDER)
    path = None if folder is None else folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.o"
    if path is not None:
        try:
            kept = cache.read(path)
            if hashlib.sha256(kept[:-32]).digest() == kept[-32:]:
                return binding.ObjectFileRef.from_data(kept[:-32])
            logger.warning("%s: is broken, so the kernel is compiled again", path)
        except OSError:
            logger.info("compiling a fused kernel; it is kept in %s", path.parent)
    code: bytes = target.emit_object(binding.parse_assembly(text))
    if path is not None:
        cache.write(path, code + hashlib.sha256(code).digest())
    return binding.ObjectFileRef.from_data(code)


def _call(_: Any, address: Any, structure: Any) -> Any:
    """Call the function at an address with the integers of a tuple, and of tuples in it, from Numba code."""

    def flatten(context: Any, builder: Any, value: Any, kind: Any) -> list[Any]:
        if not isinstance(kind, _TUPLE):
            return [context.cast(builder, value, kind, types.int64)]
        parts = cgutils.unpack_tuple(builder, value, len(kind))
        return [each for part, of in zip(parts, kind, strict=True) for each in flatten(context, builder, part, of)]

    def lower(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
        integers = flatten(context, builder, arguments[1], structure)
        signature = ir.FunctionType(ir.VoidType(), [_ADDRESS] * len(integers))
        builder.call(builder.inttoptr(arguments[0], signature.as_pointer()), integers)
        return context.get_dummy_value()

    return types.void(address, structure), lower


call: Any = intrinsic(_call)  # in Numba code: call(address, structure)
