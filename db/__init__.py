"""Tables, sessions and queries; knows nothing of Telegram or models."""
