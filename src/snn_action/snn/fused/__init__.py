"""Fused loops over time: plain functions of tensors, each with the PyTorch path of its caller as reference."""
