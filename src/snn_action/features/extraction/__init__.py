"""From videos to features in the store, by any number of processes."""
