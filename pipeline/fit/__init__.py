"""Training on stored features: the split, the labels, the feed, and where it runs."""
