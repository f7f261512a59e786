"""Helpers of the lung tumour segmentation course: the rooms along the road.

``sources → preprocessing → dataset → unet → training → inference → metrics, video``

Each module is the room behind the notebook stop of the same name; ``recipes`` holds
every choice of a pipeline in one place. Not for clinical use.
"""

__version__ = "0.1.0"
