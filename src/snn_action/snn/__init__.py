"""The spiking library: neurons, synapses, memories and ensembles. It knows nothing of videos or files."""
