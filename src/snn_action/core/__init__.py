"""What every other package stands on: errors, files, the registry, processes of one run."""
