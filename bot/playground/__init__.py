"""A local Telegram: the Bot API over real HTTP, and a JSON API that acts as the customers."""
