"""Opspawn: LLM agents that survive crashes. The nouns that users hold; everything else lives in the named subpackages."""
