"""Which fusion should I use on my data? Many operators, one recipe, one leaderboard."""
