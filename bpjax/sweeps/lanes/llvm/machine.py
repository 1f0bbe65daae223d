"""The processor and the compiler: from a module's text to a function that ctypes calls."""

import ctypes
import functools
import threading
from collections.abc import Callable

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from bpjax.sweeps.lanes.llvm.emitter import Processor

LEVEL = 2
"""Optimization level of the passes and of code generation. Level 0 compiles four times as fast."""

COMPILING = threading.Lock()
"""LLVM's context is shared by all threads of a process."""


def target(level: int) -> llvm.TargetMachine:
    """This processor, with all its vector instructions; the engine that is made with it owns it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=level
    )


@functools.lru_cache(maxsize=1)
def vector_bytes() -> int:
    """Bytes of a vector register."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


def width_of(dtypes) -> int:
    """Runs that fit side by side into a vector register, of the widest of these floating-point dtypes."""
    widest = max((np.dtype(dtype).itemsize for dtype in dtypes if np.dtype(dtype).kind == "f"), default=4)
    return vector_bytes() // widest


def versions() -> str:
    """The versions of the compiler, for the identity of a sweep."""
    return f"{'.'.join(map(str, llvm.llvm_version_info))} (llvmlite {llvmlite.__version__})"


@functools.lru_cache(maxsize=1)
def processor() -> Processor:
    """This processor."""
    is_x86 = llvm.get_process_triple().startswith(("x86_64", "i686", "i386"))
    return Processor(is_x86, 16 if is_x86 and vector_bytes() < 64 else 32)


class Machine:
    """Compiled code; the functions live as long as this object."""

    def __init__(self, text: str, level: int = LEVEL):
        """Compile a module.

        Args:
            text: in LLVM's assembly language.
            level: of optimization, 0 to 3; no number depends on it.
        """
        with COMPILING:
            machine = target(level)
            module = llvm.parse_assembly(text)
            module.verify()
            options = llvm.create_pipeline_tuning_options(speed_level=level)
            options.loop_vectorization = options.slp_vectorization = False  # it is vector code already
            options.loop_unrolling = False  # longer code was no faster
            passes = llvm.create_pass_builder(machine, options)
            passes.getModulePassManager().run(module, passes)
            self.engine = llvm.create_mcjit_compiler(module, machine)
            self.engine.finalize_object()

    def function(self, name: str, arguments: int) -> Callable[..., None]:
        """A function of so many pointers; other threads of Python go on while it runs."""
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)
        call = kind(self.engine.get_function_address(name))

        def function(*pointers: int) -> None:
            assert self.engine  # keep the code alive
            call(*pointers)

        return function
