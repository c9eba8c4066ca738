"""One short module per command; each has `register(app)`."""
