"""Customers of many shops: who comes when, to say what.

They come by a daily curve (Poisson), ask some questions and perhaps fill in an estimate, each
message a while after the last one's answer. Every number that chance decides is drawn before the
first event, so that whatever serves them meets the very same customers.
"""

from dataclasses import dataclass

import numpy as np

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What customers want: rates a shop, and tokens as tenths of what was measured."""

    shops: int
    customers_a_day: float
    questions: float  # of a conversation, one at the least
    estimate_share: float  # of customers who fill in the form too
    estimate_steps: int
    model_share: float  # of questions that reach the model
    prompts: tuple[int, ...]
    answers: tuple[int, ...]
    think_s: float  # from an answer to the next question, on average
    step_s: float  # from a question of the form to its answer
    curve: tuple[float, ...]  # weights of the day's 24 hours

    @property
    def messages(self) -> float:
        """Messages of a customer."""
        return self.questions + self.estimate_share * self.estimate_steps

    @property
    def peak_hour(self) -> int:
        """The busiest hour."""
        return int(np.argmax(self.curve))

    @property
    def peak_share(self) -> float:
        """The busiest hour's share of a day."""
        return max(self.curve) / sum(self.curve)

    def customers_a_second(self, at: float) -> float:
        """Return how many customers come a second, at a time of the day."""
        weight = self.curve[int(at % DAY_S / 3600)] / sum(self.curve)
        return self.shops * self.customers_a_day * weight / 3600

    @property
    def peak_messages(self) -> float:
        """Messages a second in the busiest hour."""
        return self.customers_a_second(self.peak_hour * 3600) * self.messages

    @property
    def peak_requests(self) -> float:
        """Requests to the model a second in the busiest hour."""
        return self.customers_a_second(self.peak_hour * 3600) * self.questions * self.model_share


@dataclass(frozen=True, slots=True)
class Message:
    """One message: seconds after the last answer, and tokens where the model is asked."""

    after: float
    prompt: float = 0.0
    answer: float = 0.0


@dataclass(frozen=True, slots=True)
class Customer:
    """Who comes when to which shop, and says what."""

    at: float
    shop: int
    messages: tuple[Message, ...]


def draw_customers(
    demand: Demand, start: float, end: float, *, days: int, seed: int
) -> list[Customer]:
    """Return who comes between two times of a day, on so many days."""
    chance = np.random.default_rng(seed)
    customers = []
    for day in range(days):
        at = start
        while at < end:
            until = min(end, (at // 3600 + 1) * 3600)
            count = chance.poisson(demand.customers_a_second(at) * (until - at))
            for moment in np.sort(chance.uniform(at, until, count)):
                shop = int(chance.integers(demand.shops))
                messages = _draw_messages(demand, chance)
                customers.append(Customer(day * DAY_S + float(moment), shop, messages))
            at = until
    return customers


def _draw_messages(demand: Demand, chance: np.random.Generator) -> tuple[Message, ...]:
    messages = []
    for number in range(1 + chance.poisson(demand.questions - 1)):
        after = chance.exponential(demand.think_s) if number else 0.0
        asked = chance.random() < demand.model_share
        prompt, answer = chance.choice(demand.prompts), chance.choice(demand.answers)
        messages.append(Message(after, float(prompt), float(answer)) if asked else Message(after))
    if chance.random() < demand.estimate_share:
        pauses = chance.exponential(demand.step_s, demand.estimate_steps)
        messages += [Message(float(pause)) for pause in pauses]
    return tuple(messages)
