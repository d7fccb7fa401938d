"""How much of everything is done."""

from dataclasses import dataclass, replace

from genepool_protocol.learngene.blueprint import Blueprint
from genepool_protocol.learngene.size import Size


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """How much is done; `full` and `quick` are the two that exist.

    Attributes:
        draws: episodes (support and test images, classes) of every task.
        shots: labelled images a class, rising; support sets are nested.
        ways: classes of an episode, at most.
        epochs: of fine-tuning, beside none.
        size: of the main table; None: the blueprint's reference, at which FedAvg trains.
        tuned: of the table of epochs; None: the blueprint's scoring size.
        sizes: of the table of sizes.
        test: test images a class, at most.
        images: of a site, at most.
        unseen: classes of a domain that tasks are made of, and images of each, at most.
        steps: of an ancestry model, condensing in proportion; 0: the recipe's own.
        trainings: how many times every site is trained, with other random numbers; draws take turns.
        mixtures: tasks of two covered domains.
        irrelevant: members added in the table of growth, rising.
        fully_trained: irrelevant members beyond so many are trained for a tenth of the steps.
        growth_draws: draws of the tables of growth and of the residual pool.
        shots_once: images a class of the tables that have one column only.
        size_domains: covered domains of the table of sizes.
        rounds: of FedAvg.
        evaluations: of the gradient-free search.
    """

    name: str
    draws: int = 5
    shots: tuple[int, ...] = (1, 5, 20)
    ways: int = 5
    epochs: tuple[int, ...] = (1, 10)
    size: Size | None = None
    tuned: Size | None = None
    sizes: tuple[Size, ...] = (
        Size(2, 1),
        Size(3, 1),
        Size(3, 2),
        Size(6, 2),
        Size(4, 4),
        Size(6, 3),
        Size(9, 4),
        Size(12, 4),
    )
    test: int = 25
    images: int = 900
    unseen: tuple[int, int] = (12, 60)
    steps: int = 0
    trainings: int = 1
    mixtures: int = 4
    irrelevant: tuple[int, ...] = (10, 100)
    fully_trained: int = 10
    growth_draws: int = 3
    shots_once: int = 5
    size_domains: int = 3
    rounds: int = 8
    evaluations: int = 40


def full() -> BenchmarkPlan:
    """What fits into about two hours on two cores."""
    return BenchmarkPlan("full", tuned=Size(6, 2), trainings=2)


def quick() -> BenchmarkPlan:
    """What fits into five minutes on two cores with the sample pack: it shows that everything runs, and little more."""
    return BenchmarkPlan(
        "quick",
        draws=2,
        shots=(1, 5),
        epochs=(1,),
        size=Size(4, 2),
        tuned=Size(3, 1),
        sizes=(Size(2, 1), Size(4, 2)),
        test=20,
        images=300,
        unseen=(5, 30),
        steps=16,
        mixtures=1,
        irrelevant=(2,),
        fully_trained=2,
        growth_draws=1,
        size_domains=1,
        rounds=2,
        evaluations=10,
    )


def with_sizes(plan: BenchmarkPlan, blueprint: Blueprint) -> BenchmarkPlan:
    """The plan with its sizes settled, those that the blueprint has.

    Raises:
        InvalidInput: SIZE_OUTSIDE_BLUEPRINT.
    """
    low, high = blueprint.depths
    fitting = tuple(size for size in plan.sizes if low <= size.depth <= high and size.heads <= blueprint.heads)
    size, tuned = plan.size or blueprint.reference, plan.tuned or blueprint.score.size()
    return replace(plan, size=blueprint.check(size), tuned=blueprint.check(tuned), sizes=fitting)
