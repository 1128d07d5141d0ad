"""Shared by the tests: tiny models, clips, trainers, recipes. No test module imports another."""
