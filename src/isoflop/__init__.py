"""isoflop: where should the next FLOP go, what will it buy, and how sure are we?"""

__version__ = "0.1.0"
