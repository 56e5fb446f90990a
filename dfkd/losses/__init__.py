"""Losses: pure functions from tensors to a scalar tensor. No models, no configuration.

The student comes first, hyper-parameters are keyword-only, and every function
says where its formula is from. Weights and signs belong to the ``Objective``: a
loss is what the paper minimises, and an adversary is -1 times a distillation term.
"""
