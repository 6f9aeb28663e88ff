"""The pages on which the shop's people review conversations."""
