"""Solutions to the exercises of 03_unet.ipynb."""


def conv_parameters(inputs, outputs, size):
    return inputs * outputs * size * size + outputs
