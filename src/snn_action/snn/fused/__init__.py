"""A compiler of loops over time, from one step of a neuron in PyTorch to kernels for the CPU and the GPU.

In the order of its work:

- ``trace`` records a step and its gradient, ``builder`` simplifies the record to a program of ``ir``;
- ``operations`` is the table of what programs are made of (with ``formulas``, ``expansions`` and ``ranges``);
- ``cpu`` writes and runs loops of LLVM vectors, ``triton`` those of a GPU, both from the same ``inputs``;
- ``neurons`` and ``ensemble_array`` are the functions that are called, with gradients (``autograd`` those of
  gradients); ``dispatch`` says where they run, and on how many threads.

Each has the PyTorch path of its caller as reference.
"""
