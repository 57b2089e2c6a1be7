"""Networks: backbones and heads of the DeepLab family, and those to compare them with."""
