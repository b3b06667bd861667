"""Everything of the 2020 project: its configuration, pickles, frame folders, encoder and spiking LMU."""
