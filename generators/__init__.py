"""Image sources and critics: plain ``nn.Module``s and functions that import torch only."""
