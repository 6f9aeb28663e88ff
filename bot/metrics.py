"""What Prometheus is told: counts and times, nothing of what was said.

https://prometheus.io/docs/practices/naming/
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)

TURNS = Counter("deepbot_turns", "Turns that ended, by the way their answer came", ["way"])
FIRST_TEXT = Histogram(
    "deepbot_first_text_seconds",
    "From a question to the first text of its answer",
    buckets=_SECONDS,
)
ANSWER = Histogram(
    "deepbot_answer_seconds", "From storing a message to the end of its turn", buckets=_SECONDS
)
RUNNING = Gauge("deepbot_chats_running", "Chats whose turns this process is running")
WAITING = Gauge("deepbot_model_waiting", "Questions that wait for the model")
TASKS = Gauge("deepbot_tasks", "Tasks of the event loop")
TAKEN_OVER = Counter("deepbot_chats_taken_over", "Chats taken over from workers that are gone")
MODEL_ERRORS = Counter("deepbot_model_errors", "Failures of the model's side", ["failure"])
CHECKS_FAILED = Counter(
    "deepbot_checks_failed", "Answers of the model that the check refused", ["problem"]
)
TELEGRAM_CALLS = Counter("deepbot_telegram_calls", "Calls to Telegram, by result", ["result"])
UPDATES = Counter("deepbot_updates", "Updates from Telegram, by what became of them", ["outcome"])
