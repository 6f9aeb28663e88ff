"""딥봇: what customers and admins touch."""

import os

# python-telegram-bot 22 warns on every RetryAfter unless its times are timedeltas.
os.environ.setdefault("PTB_TIMEDELTA", "true")
