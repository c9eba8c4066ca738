"""Operators: many feature vectors of a record into one. One module per operator, one idea per module."""
