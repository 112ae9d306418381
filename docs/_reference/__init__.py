"""The parts of the generator: each module makes one or more pages of the reference. See `docs/generate.py`."""
