"""Load, chaos and soak: the real bot as processes of its own, everything around it in this one."""
