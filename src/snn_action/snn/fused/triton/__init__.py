"""Fused loops for the GPU: Triton."""
