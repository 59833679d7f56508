"""Meta-training of learned optimizers: tasks, parametrisations, inner problems, outer gradients, the trainer."""
