"""Predictors f: from parameters or a latent, and a query's inputs, to outputs linear in the head. One per file."""
