"""Nearest neighbours of any modality: query encodes, spaces scores, searcher puts both together."""
