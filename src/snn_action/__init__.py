"""Recognise human actions in video with spiking neural networks."""

__version__ = "0.1.0"
