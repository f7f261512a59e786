"""From stacks to batches: split by patient, slices, sampler, augmentation. Stop 02."""
