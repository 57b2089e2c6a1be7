"""Commands whose files may lie at URLs: each as on a disk, with what it reads brought here and what it writes sent."""
