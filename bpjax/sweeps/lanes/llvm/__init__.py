"""Lanes compiled by LLVM: one function runs all epochs of W runs in vector registers.

A vector of the processor has W entries, one for each run. The jaxpr of an epoch, with all stops and counters in it,
is evaluated on arrays of such vectors; the loop over epochs is inside the compiled function, which exchanges runs that
have stopped by waiting ones. Small bodies are written out, larger ones are loop nests over arrays in memory.

    flatten         a jaxpr as one list of steps without calls and repetitions
    arrays          arrays are functions from indices to values, computed where they are read, or memory
    rules           the table of rules, one entry per JAX primitive, and the evaluation of steps
      elementwise   and the special functions: special, error_function, trigonometry, written with ops
      shapes        entries at other places
      contractions  sums and products; reductions: the order in which terms are combined
      batches       which steps are computed for a few examples at a time; blocks: the code of these loops
      control_flow  loops and branches
      lookups       places that differ between runs; sorting; keys: random numbers
    emitter         writing LLVM code: constants, memory, loops; dtypes and scratch memory
    rows            how a run lies in memory
    program         the parts of a trial as functions; training: the function that trains
    machine         the processor and the compiler
    compiled        the functions called from Python

Exactness. Every operation is rounded once, in the precision of its dtype; LLVM may leave out, reorder and fuse nothing
(there are no fast-math flags). A sum over a product is a chain of fused multiply-adds in the order of its index. So
the numbers of a run do not depend on W, on the number of threads, on its neighbours, or on where chunks end.

What has no rule raises `Unsupported`; the sweep is then left to XLA's lanes. llvmlite is imported here alone.
"""
