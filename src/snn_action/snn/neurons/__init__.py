"""Neurons and synapses: equations, pure step functions, thin modules. Usable alone."""
