"""One module a dataset: ``Settings`` and ``build``; the registry names them."""
