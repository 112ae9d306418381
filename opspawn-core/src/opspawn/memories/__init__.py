"""Long-term memories: the one that is built in, and what every memory shares: words, ranking."""
