"""Objects as features: their labels in a tile, what adds up over tiles, and their shape."""
