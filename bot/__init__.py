"""딥봇: what customers and admins touch."""
