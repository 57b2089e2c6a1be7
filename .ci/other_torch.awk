# A lock for builds of PyTorch other than the one in it: torch and torchvision keep their versions alone,
# since other builds have other hashes; the CUDA libraries go, since each build names its own.
/^(torch|torchvision)==/ { sub(/ *\\$/, ""); print; skip = 1; next }
/^(nvidia-|cuda-|triton==)/ { skip = 1; next }
/^[^ ]/ { skip = 0 }
!skip
