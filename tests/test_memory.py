"""Memory over many meta-steps: graphs of inner steps are freed with their outer step."""

import psutil
import pytest
import torch

from amortix.training import Recipe, Trainer

STEPS = 1_000
WARM = 100  # the allocator's arenas fill in the first steps
# A leak of one copy of θ, 1,761 float32 numbers, of one task each step would be 6.7 MB; of all 32 tasks, 215 MB.
MARGIN = 4 * 2**20
PLAN = {
    "name": "sinusoid",
    "learner": {"method": "maml", "task": "regression", "features": 1, "steps": 5},
    "families": [{"family": "sinusoid"}],
    "iterations": WARM + STEPS,
    "tasks": 32,
    "slots": 64,
    "points": 10,
    "batch": [10, 10],
    "horizon": [1, 1],
}


@pytest.mark.slow
def test_resident_memory_is_flat_over_a_thousand_meta_steps():
    trainer, process = Trainer(Recipe.read(PLAN)), psutil.Process()
    for _ in range(WARM):
        trainer.advance()
    before = process.memory_info().rss
    for _ in range(STEPS):
        trainer.advance()
    assert torch.isfinite(trainer.learner.get_parameter("adapter.start.value")).all()
    assert process.memory_info().rss - before < MARGIN
