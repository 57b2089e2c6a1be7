"""DICOM Segmentations of series and of slides."""
