"""Training: data, recipes, fine-tuning, evaluation, comparison of the systems behind 딥봇."""
