"""The pretraining of a small HuBERT: its audio, targets, model, training, probe and release."""
