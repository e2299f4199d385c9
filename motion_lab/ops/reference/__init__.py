"""The ops in plain PyTorch: slow, differentiable, any float type, and the definition of right."""
