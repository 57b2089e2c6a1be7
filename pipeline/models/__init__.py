"""The DeepLab family, its backbones, model packages, and import of other checkpoints."""
