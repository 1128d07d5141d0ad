"""Seeded cases of what people give the tool, one module per kind: `make(rng, place) -> Case`."""
