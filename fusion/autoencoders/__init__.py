"""Autoencoders: the encoder is a fusion, the decoders live in the objective and restore what is missing."""
