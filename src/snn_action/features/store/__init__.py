"""The store of features: safetensors shards, their index, and what keeps both sound."""
