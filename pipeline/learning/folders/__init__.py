"""Folders of pictures with masks, told as scenes."""
