"""Agents: who is there, in which state, and how remote ones are reached."""
