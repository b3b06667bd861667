"""Fused loops for the CPU: Numba, with LLVM vectors."""
