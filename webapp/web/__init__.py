"""HTTP: the pages, the operators' pages, the fast path, and the modules that all of them share."""
