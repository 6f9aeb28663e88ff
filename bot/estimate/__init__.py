"""Guided estimates: what is asked, how it is read, what it costs, what a customer keeps of it."""
