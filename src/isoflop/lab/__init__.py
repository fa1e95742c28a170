"""The rooms where ladders are really trained: the only part of isoflop that needs torch."""
