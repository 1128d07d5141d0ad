"""Seeded inputs like those of users, one module per kind: `make(rng, place) -> Case`."""
