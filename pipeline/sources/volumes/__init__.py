"""Volumes: NIfTI, NRRD and DICOM series, read through MONAI's readers and served slice by slice."""
