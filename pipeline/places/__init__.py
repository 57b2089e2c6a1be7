"""Where whole objects are kept: folders of a disk and buckets of object stores, behind one protocol."""
