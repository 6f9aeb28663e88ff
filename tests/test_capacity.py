"""The capacity page: its arithmetic, its simulation, and that it says what the program prints."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.load import capacity, plan
from tests.load.customers import DAY_S, Customer, Demand, Message, draw_customers
from tests.load.roofline import CARDS, HIGH, L4, L40S, LOW, Card, Server
from tests.load.simulation import Plant, Result, simulate
from training import memory, recipe

PAGE = Path(__file__).parents[1] / "docs" / "capacity.md"
BUSY = replace(plan.demand_of(400), think_s=5.0)  # enough to fill one slow card


def plant(*, gpus: int = 1, efficiency: float = LOW) -> Plant:
    return plan.plant_of(1, efficiency, gpus=gpus)


def mean_whole_s(result: Result) -> float:
    return sum(p.ended - p.came for p in result.passages) / len(result.passages)


def busy_customers(demand: Demand = BUSY, *, seed: int = 1) -> list[Customer]:
    return draw_customers(demand, 20 * 3600.0, 20 * 3600.0 + 300, days=1, seed=seed)


def at_once(count: int) -> list[Customer]:
    return [Customer(0.0, 0, (Message(0.0, 480, 100),)) for _ in range(count)]


def test_the_page_says_what_the_program_prints() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name, each in capacity.report().items() if each not in text]
    assert not missing, f"python -m tests.load.capacity: {missing}"
    assert (PAGE.parent / "images" / "capacity.png").is_file()


def test_a_models_weights_are_counted_as_on_the_model_itself() -> None:
    base = recipe.load("ldcc-solar").base
    counted = memory.measure_shape(base)
    assert plan.LDCC.weight_bytes == pytest.approx(2 * counted.parameters, rel=1e-3)
    assert plan.LDCC.kv_bytes == 192 * 1024
    assert plan.LDCC_FP8.weight_bytes == pytest.approx(
        counted.layer_matrices + 2 * (counted.parameters - counted.layer_matrices), rel=1e-3
    )


def test_weights_that_do_not_fit_serve_nobody() -> None:
    server = Server(L4, plan.LDCC)
    assert server.requests_a_second(480, 100) == server.limit(480, 100) == 0


@settings(deadline=None)
@given(
    st.sampled_from(CARDS),
    st.floats(50, 2000),
    st.floats(1, 320),
    st.floats(0.05, 1),
    st.floats(1, 2),
)
def test_a_better_card_serves_more_and_none_more_than_its_limit(
    card: Card, prompt: float, answer: float, efficiency: float, better: float
) -> None:
    server = plan.serve_ldcc(card, efficiency)
    served = server.requests_a_second(prompt, answer)
    best = replace(server, efficiency=1.0)
    assert served <= best.limit(prompt, answer) * (1 + 1e-9)
    assert served == pytest.approx(efficiency * best.requests_a_second(prompt, answer))
    faster = replace(card, bandwidth=card.bandwidth * better, flops=card.flops * better)
    assert replace(server, card=faster).requests_a_second(prompt, answer) == pytest.approx(
        better * served
    )
    larger = replace(card, memory=card.memory * better)
    assert replace(server, card=larger).requests_a_second(prompt, answer) >= served * (1 - 1e-9)


@settings(deadline=None)
@given(st.integers(1, 20_000), st.integers(2, 5))
def test_every_load_grows_with_the_shops_but_telegrams(shops: int, times: int) -> None:
    few, many = plan.loads(shops), plan.loads(shops * times)
    for one, other in zip(few[:-1], many[:-1], strict=True):
        assert other.load == pytest.approx(times * one.load)
    assert many[-1].load == pytest.approx(few[-1].load)  # each shop's bot has a limit of its own


def test_customers_come_by_the_days_curve() -> None:
    demand = replace(plan.demand_of(1_000), curve=(1.0,) * 12 + (3.0,) * 12)
    came = [c.at % DAY_S for c in draw_customers(demand, 0, DAY_S, days=2, seed=3)]
    assert len(came) == pytest.approx(2 * 1_000 * demand.customers_a_day, rel=0.03)
    assert sum(at >= DAY_S / 2 for at in came) / len(came) == pytest.approx(0.75, abs=0.01)
    part = draw_customers(demand, 13 * 3600.0, 13.5 * 3600.0, days=1, seed=3)
    assert all(13 * 3600 <= c.at < 13.5 * 3600 for c in part)


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (simulate(plant(), busy_customers()) for _ in range(2))
    assert [p.ended for p in first.passages] == [p.ended for p in second.passages]
    other = simulate(plant(), busy_customers(seed=2))
    assert [p.ended for p in other.passages] != [p.ended for p in first.passages]


def test_every_message_is_answered_in_its_customers_order() -> None:
    customers = busy_customers()
    result = simulate(plant(), customers)
    assert len(result.passages) == sum(len(c.messages) for c in customers)
    assert all(p.came < p.first <= p.ended for p in result.passages)
    assert all(p.waited_gpu is None or p.waited_gpu >= 0 for p in result.passages)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.sampled_from((LOW, HIGH)))
def test_littles_law_holds(seed: int, gpus: int, efficiency: float) -> None:
    result = simulate(plant(gpus=gpus, efficiency=efficiency), busy_customers(seed=seed))
    assert result.present_s == pytest.approx(sum(p.ended - p.came for p in result.passages))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from((LOW, HIGH)))
def test_more_of_anything_is_never_slower(seed: int, efficiency: float) -> None:
    customers = busy_customers(seed=seed)
    one = mean_whole_s(simulate(plant(efficiency=efficiency), customers))
    for better in (
        plant(efficiency=efficiency, gpus=2),
        plant(efficiency=efficiency * 1.5),
        replace(plant(efficiency=efficiency), process_s=plan.PROCESS_S / 2),
    ):
        assert mean_whole_s(simulate(better, customers)) <= one * (1 + 1e-6)


@pytest.mark.parametrize("full", [0.3, 0.7])
def test_a_line_waits_as_queueing_theory_says(full: float) -> None:
    """Poisson arrivals and a fixed time of service: Pollaczek and Khinchine's mean wait."""
    service_s = 0.05
    demand = replace(
        plan.demand_of(1),
        customers_a_day=full / service_s * DAY_S,
        questions=1.0,
        estimate_share=0.0,
        model_share=0.0,
        curve=(1.0,) * 24,
    )
    customers = draw_customers(demand, 0.0, 2_500.0, days=1, seed=5)
    result = simulate(replace(plant(), processes=1, process_s=service_s, postgres_s=0.0), customers)
    waited = sum(p.waited_process for p in result.passages) / len(result.passages)
    assert waited == pytest.approx(full * service_s / (2 * (1 - full)), rel=0.1)


def test_a_lone_request_takes_its_reading_and_its_steps() -> None:
    one = plant()
    (passage,) = simulate(one, at_once(1)).passages
    before = one.postgres_s + one.process_s
    step = one.server.step_s(1, 480)
    read = one.server.read_s(480 - one.known)
    assert passage.first == pytest.approx(before + read + step)
    assert passage.ended == pytest.approx(before + read + 100 * step)


def test_a_full_card_serves_as_many_as_the_formula_says() -> None:
    one = replace(plant(), processes=1_000, process_s=0.0, postgres_s=0.0, calls_a_second=1e9)
    count = 3_000
    result = simulate(one, at_once(count))
    formula = one.server.requests_a_second(480, 100, known=one.known)
    took = max(p.ended for p in result.passages)
    assert count / took == pytest.approx(formula, rel=0.1)
    room = Server(L40S, plan.LDCC).at_once(580)
    waiting = [p for p in result.passages if (p.waited_gpu or 0) > took / count * room]
    assert len(waiting) >= count - 2 * room  # no more run together than fit


def test_telegram_takes_a_shops_answers_at_its_own_pace() -> None:
    customers = [Customer(0.0, n % 2, (Message(0.0),)) for n in range(400)]
    fast = replace(plant(), process_s=0.0, postgres_s=0.0)
    last = max(p.ended for p in simulate(fast, customers).passages)
    assert last == pytest.approx(200 * plan.CALLS / plan.CALLS_A_SECOND - 1, rel=0.01)


def test_a_process_for_all_shops_waits_longer_than_one_for_each() -> None:
    customers = busy_customers(replace(BUSY, shops=8_000), seed=4)
    own = simulate(plant(gpus=20), customers)
    shared = simulate(replace(plant(gpus=20), processes=1), customers)
    waits = [max(p.waited_process for p in each.passages) for each in (own, shared)]
    assert waits[0] < waits[1]
